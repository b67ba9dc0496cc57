"""What the state machine is worth: services with one mistake in them, each of which it must notice."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, Final
from unittest import mock

import pytest
import redis
from django.db import DatabaseError

from tests.faults.extended import only_extended
from tests.faults.stateful_clock import Clock
from tests.faults.stateful_ground import Ground
from tests.faults.stateful_play import Length, play
from tests.faults.stateful_stage import Record, Stage
from worlds.services import (
    active_sets,
    advance,
    apply,
    approval_facts,
    circuits,
    flat,
    kills,
    override_rows,
    reopenings,
    runs,
    withdrawals,
)
from worlds.work import tick

pytestmark = [pytest.mark.django_db, pytest.mark.slow, pytest.mark.timeout(600)]
MOST_SEEDS: Final = 8
LENGTH: Final = Length(histories=7, steps=40)
FIRST_SEEDS: Final = {"an approval outlives the right to give it": 6, "an override never ends": 2}
"""Where to begin with mistakes that show in few histories: seeds that are known to notice, so that it takes seconds."""
NOTICED: Final = (AssertionError, DatabaseError)


def nothing(*_arguments: object, **_named: object) -> None:
    """Leave out what should be done."""


def yes(*_arguments: object, **_named: object) -> bool:
    """Agree to everything."""
    return True


def from_the_start(*_arguments: object, **_named: object) -> int:
    """Take every word for one that comes after."""
    return 0


def no_run(*_arguments: object, **_named: object) -> None:
    """Find nobody who is in the way."""


def play_until_noticed(stage: Stage, first: int) -> None:
    for seed in range(first, first + MOST_SEEDS):
        play(stage, seed, shrink=False, length=LENGTH)


MUTANTS: Final[dict[str, tuple[ModuleType, str, Callable[..., Any]]]] = {
    "a worker keeps the lease of a run that waits": (advance, "_give_back", nothing),
    "an approval outlives the right to give it": (approval_facts, "_still_entitled", yes),
    "an older plan goes on waiting": (runs, "supersede", nothing),
    "a second increase starts beside a live one": (runs, "busy_run", no_run),
    "the schedule goes ahead whatever is pinned or paused": (apply, "_may_ask", yes),
    "the hold of a withdrawal stays": (active_sets, "_lift_withdrawals", nothing),
    "who leaves does not cool down": (active_sets, "_start_cool_downs", nothing),
    "a withdrawal puts no hold": (withdrawals, "place_hold", nothing),
    "a kill leaves no record": (kills, "record", nothing),
    "whoever asks opens it alone": (reopenings, "check_approver", nothing),
    "a word from before the switch ends a wait": (flat, "_placed_at_sequence", from_the_start),
    "a circuit that trips holds nothing": (circuits, "place_hold", nothing),
    "who is overridden stays in the set": (override_rows, "drop_members", nothing),
    "an override never ends": (tick, "expire_overrides", nothing),
}


@only_extended
@pytest.mark.parametrize("mistake", MUTANTS)
def test_mistake_in_the_services_is_noticed(
    mistake: str, ground: Ground, clock: Clock, redis_client: redis.Redis
) -> None:
    module, name, wrong = MUTANTS[mistake]
    stage = Stage(ground, clock, Record(), redis_client)

    with mock.patch.object(module, name, wrong), pytest.raises(NOTICED) as caught:
        play_until_noticed(stage, FIRST_SEEDS.get(mistake, 0))

    assert any("state = WorldMachine()" in note for note in caught.value.__notes__)
