"""Play histories of the state machine, as a seed decides them."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import get_state_machine_test

from tests.faults.stateful_machine import machine_on
from tests.faults.stateful_stage import Stage


@dataclass(frozen=True, slots=True)
class Length:
    """How many histories are played of one seed, and of how many steps each is at most."""

    histories: int = 8
    steps: int = 50


LENGTH: Final = Length()


def play(stage: Stage, seed: int, *, shrink: bool = True, length: Length = LENGTH) -> None:
    """Play some histories; one that fails is cut down to the acts that it takes, unless there is no time to.

    Raises:
        AssertionError: the sides differ, or an invariant is broken.
    """
    test = get_state_machine_test(
        machine_on(stage),
        settings=settings(
            max_examples=length.histories,
            stateful_step_count=length.steps,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
            suppress_health_check=list(HealthCheck),
            print_blob=False,
            report_multiple_bugs=False,
        ),
    )
    with seldom_collecting():
        hypothesis.seed(seed)(test)()


@contextlib.contextmanager
def seldom_collecting() -> Iterator[None]:
    """Look for garbage at the end of each history only: a third of the time would go into that."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
