"""What closes a world at once, and stays until people open it: a kill, a tripped circuit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from qmtl_worlds.lifecycle.holds import HoldKind
from torture.stage import PATIENCE_SECONDS, Stage
from worlds.models import GateHold
from worlds.services.kills import is_killed

_OPEN: Final = frozenset({"open", "granted"})


@dataclass(frozen=True, slots=True)
class Closing:
    """By which act it comes, by which it goes, how to see that it stands, and the invariant that says so."""

    verb: str
    undo: str
    stands: Callable[[str], bool]
    invariant: str


def _is_killed(world_id: str) -> bool:
    return is_killed(world_id=world_id)


def _is_tripped(world_id: str) -> bool:
    return GateHold.objects.filter(world_id=world_id, kind=HoldKind.CIRCUIT, scope="").exists()


KILL: Final = Closing("kill", "lift", _is_killed, "I12")
TRIP: Final = Closing("trip", "reset", _is_tripped, "I11")


def close(stage: Stage, world_id: str, closing: Closing) -> None:
    """Close the world."""
    answer = stage.insist(closing.verb, world_id)
    stage.tally.count(f"worlds closed by {closing.verb}")
    if "seconds" in answer:
        stage.tally.killed_in(answer["seconds"])
    see_it_stand(stage, world_id, closing)


def see_it_stand(stage: Stage, world_id: str, closing: Closing) -> None:
    """Whatever becomes of runs, what closed the world never goes away by itself."""
    if not stage.read(partial(closing.stands, world_id)):
        what = f"a {closing.verb} did not stand"
        stage.tally.problem("violation", what, invariant=closing.invariant, world=world_id)


def open_again(stage: Stage, world_id: str, closing: Closing) -> None:
    """Do the one thing that takes it away."""
    until = time.monotonic() + PATIENCE_SECONDS
    while stage.insist(closing.undo, world_id).get("state") not in _OPEN:
        if time.monotonic() > until:
            stage.tally.problem("stuck", f"a {closing.verb} was never undone", world=world_id)
            return
    if stage.read(partial(closing.stands, world_id)):
        stage.tally.problem("stuck", f"a {closing.verb} stands after its {closing.undo}", world=world_id)
