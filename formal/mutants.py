"""The fourteen mutants as the explorer meets them, each with a scope in which it must be found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from formal import copies, events, machine
from formal.copies import Answer
from formal.explorer import Report, explore
from formal.patches import TABLE_PATCHES, UNDOES, Patch, patched
from formal.rows import Truth
from formal.smallworld import SmallWorld
from formal.states import Move, Scope, State, Worker


class Mutant(NamedTuple):
    """What to do wrong, and where to look."""

    scope: Scope
    patches: tuple[Patch, ...] = ()


def search(name: str) -> Report:
    """Look for a counter-example to one mutant."""
    mutant = MUTANTS[name]
    with patched(mutant.patches):
        return explore(mutant.scope)


def _always(_truth: Truth, _index: int) -> bool:
    return True


def _never_older(copy: Answer | None, _lease: int) -> Answer | None:
    return copy


def _written_anew(_redis: Answer | None, snapshot: Answer, lease: int) -> Answer | None:
    return snapshot._replace(ticks=lease)


def _taken_as_offered(_held: Answer, offered: Answer) -> Answer:
    return copies.settled(offered)


def _back_when_undone(state: str) -> int:
    return -1 if state == UNDOES else 1


def _half_written(redis: Answer | None, snapshot: Answer, _lease: int) -> Answer | None:
    if redis is None:
        return snapshot
    mixed = (snapshot.permits & 0b001) | (redis.permits & 0b110)
    return snapshot._replace(permits=mixed, whole=mixed in {redis.permits, snapshot.permits})


def _as_if_just_sent(frame: Answer) -> Answer:
    return frame._replace(ticks=frame.ticks + frame.age)


_step = SmallWorld._step  # noqa: SLF001 the mutant stands in its place


def _step_once_confirmed(
    self: SmallWorld, state: State, place: int, worker: Worker, claimed: Truth | None = None
) -> Iterator[Move]:
    """Take the drain for over once Redis has the close."""
    seen = claimed or state.truth
    if state.redis is not None and state.redis.revision == seen.revision:
        runs = tuple(run._replace(drain=0 if run.drain else run.drain) for run in seen.runs)
        claimed = seen._replace(runs=runs) if claimed else None
        state = state if claimed else state._replace(truth=seen._replace(runs=runs))
    yield from _step(self, state, place, worker, claimed)


_CALM: Final = Scope(redis=False, faults=0)
_DYING: Final = Scope(redis=False, faults=1, fault_kinds=frozenset({"crash"}), acts=0)

MUTANTS: Final = {
    "B1": Mutant(_CALM, TABLE_PATCHES["B1"]),
    "B2": Mutant(_DYING._replace(workers=2), TABLE_PATCHES["B2"]),
    "B3": Mutant(_CALM._replace(increases=2), (Patch(events, "may_start", _always),)),
    "B4": Mutant(Scope(faults=0), (Patch(copies, "aged_copy", _never_older),)),
    "B5": Mutant(Scope(faults=0), (Patch(copies, "written", _written_anew),)),
    "B6": Mutant(Scope(acts=0), (Patch(SmallWorld, "_step", _step_once_confirmed),)),
    "B7": Mutant(_CALM._replace(frames=True), (Patch(copies, "renewed", _taken_as_offered),)),
    "B8": Mutant(_CALM, (Patch(machine, "generations_of", _back_when_undone),)),
    "B9": Mutant(Scope(faults=0), (Patch(copies, "written", _half_written),)),
    "B10": Mutant(_CALM._replace(acts=0), TABLE_PATCHES["B10"]),
    "B11": Mutant(_CALM._replace(acts=0), TABLE_PATCHES["B11"]),
    "B12": Mutant(_CALM._replace(frames=True), (Patch(copies, "delivered", _as_if_just_sent),)),
    "B13": Mutant(_DYING, TABLE_PATCHES["B13"]),
    "B14": Mutant(Scope(acts=0, fault_kinds=frozenset({"wipe"}), reconciles=False)),
}
