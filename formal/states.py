"""How large a small world is, what a state of it is, and which states are the same."""

from __future__ import annotations

from typing import NamedTuple

from formal import events
from formal.copies import Answer
from formal.rows import Outcome, Truth


class Scope(NamedTuple):
    """How large a world to explore. ``faults`` and ``acts`` are how many of each may happen on one path.

    ``fault_kinds`` and ``act_kinds`` say which; ``lag`` lets time pass and others read between a worker's decision and
    the moment when its commit becomes visible; ``frames`` lets answers arrive late; ``flat`` is a position policy that
    wants everyone flat; without ``reconciles`` Redis is written once after each commit, and not again.
    """

    lease: int = 1
    increases: int = 1
    workers: int = 1
    redis: bool = True
    lag: bool = True
    frames: bool = False
    faults: int = 1
    fault_kinds: frozenset[str] = frozenset({"crash", "wipe", "failover"})
    acts: int = 1
    act_kinds: frozenset[str] = events.ACTS
    reconciles: bool = True
    flat: bool = False


class Worker(NamedTuple):
    """A worker that goes on with a run; ``current`` is false once somebody else has raised the run's epoch."""

    run: int
    current: bool


class Transaction(NamedTuple):
    """What a worker has written and committed, and nobody sees yet."""

    truth: Truth
    worker: int
    outcome: Outcome
    fences: bool


class State(NamedTuple):
    """Everything there is. ``shut`` counts ticks since the rows stopped permitting each instance, for I1."""

    truth: Truth
    shut: tuple[int, ...]
    workers: tuple[Worker | None, ...]
    runners: tuple[Answer, ...]
    frames: tuple[Answer | None, ...]
    faults: int
    acts: int
    transaction: Transaction | None = None
    redis: Answer | None = None
    replica: Answer | None = None
    snapshot: Answer | None = None
    bell: bool = False


class Move(NamedTuple):
    """One thing that happens; ``helps`` is false for faults and for what people do."""

    label: str
    after: State
    helps: bool
    wrong: str = ""


def canonical(state: State) -> State:
    """Return the state with its revisions renumbered from 0 in their order.

    All that matters of a revision is which of two is later, so worlds that differ in nothing else are one state.
    """
    pending = state.transaction
    seen = {state.truth.revision}
    if pending is not None:
        seen.add(pending.truth.revision)
    for answer in (*state.runners, *state.frames, state.redis, state.replica, state.snapshot):
        if answer is not None:
            seen.add(answer.revision)
    if len(seen) == max(seen) + 1:
        return state
    rank = {revision: place for place, revision in enumerate(sorted(seen))}

    def renumbered(answer: Answer | None) -> Answer | None:
        return None if answer is None else answer._replace(revision=rank[answer.revision])

    return state._replace(
        truth=_numbered(state.truth, rank),
        transaction=pending and pending._replace(truth=_numbered(pending.truth, rank)),
        runners=tuple(held._replace(revision=rank[held.revision]) for held in state.runners),
        frames=tuple(map(renumbered, state.frames)),
        redis=renumbered(state.redis),
        replica=renumbered(state.replica),
        snapshot=renumbered(state.snapshot),
    )


def _numbered(truth: Truth, rank: dict[int, int]) -> Truth:
    return truth._replace(revision=rank[truth.revision])
