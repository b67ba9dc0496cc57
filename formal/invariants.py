"""What must hold in every state of the small world (PROTOCOL 2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from formal import copies
from formal.copies import Answer
from formal.rows import EXCLUSIVE, INCREASE, LIVE
from formal.states import Scope, State
from qmtl_worlds.contracts.states import RunState

_DRAINED: Final = frozenset({RunState.FROZEN.value, RunState.SWITCHED.value})


def violation(state: State, lease: int) -> str:
    """Return the first invariant that the state breaks, "" where all hold."""
    increases = [run.state for run in state.truth.runs if run.kind == INCREASE]
    if sum(one in EXCLUSIVE for one in increases) > 1:
        return "I3: two increase runs at once"
    alive = list(_alive(state))
    return _wrong_permission(state, alive, lease, drained=not _DRAINED.isdisjoint(increases)) if alive else ""


def is_settled(state: State, scope: Scope) -> bool:
    """Tell whether all runs have ended or wait for people, and Redis equals the rows."""
    if state.transaction is not None or any(run.state in LIVE for run in state.truth.runs):
        return False
    return not scope.redis or state.redis == copies.ask(state.truth, scope.lease, -1)


def _wrong_permission(state: State, alive: list[Answer], lease: int, *, drained: bool) -> str:
    wrong = ""
    if drained:
        wrong = "I1c: a permission is alive after the drain"
    elif any(_outlives(answer, state.shut, lease) for answer in alive):
        wrong = "I1b: a permission outlives the close by more than the lease"
    elif not all(answer.whole for answer in alive):
        wrong = "I2: a mix of two sets is served"
    elif len({answer.outdated for answer in alive}) > 1:
        wrong = "I2: permissions of two sets at one instant"
    elif any(held.lives and held.ticks + held.age > lease for held in state.runners):
        wrong = "I8: a permission is older than its lease"
    return wrong


def _alive(state: State) -> Iterator[Answer]:
    """Return every permission that somebody may act on now, or will be able to once it arrives."""
    for answer in (*state.runners, *state.frames, state.redis, state.replica, state.snapshot):
        if answer is not None and answer.permits and answer.ticks:
            yield answer


def _outlives(answer: Answer, shut: tuple[int, ...], lease: int) -> bool:
    return any(answer.permits >> place & 1 and count >= lease for place, count in enumerate(shut))
