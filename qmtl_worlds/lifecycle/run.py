"""An apply run as the state machine sees it: what it is, what it is told, what it asks to be done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.lease import drain_seconds
from qmtl_worlds.contracts.plans import EMPTY_SET, ActiveSet, TransitionPlan
from qmtl_worlds.contracts.states import RunKind, RunState
from qmtl_worlds.lifecycle.holds import Hold, HoldKind
from qmtl_worlds.lifecycle.plan import apply_reduce, merge_after_reduce


@dataclass(frozen=True, slots=True)
class Timings:
    """The world's lengths of time; tests divide them all."""

    lease_seconds: float = 5.0
    slack_seconds: float = 0.25
    run_deadline_seconds: float = 300.0
    worker_lease_seconds: float = 3.0
    max_attempts: int = 5

    @property
    def drain(self) -> timedelta:
        """Return how long after a visible close some permission may still live."""
        return timedelta(seconds=drain_seconds(lease_seconds=self.lease_seconds, slack_seconds=self.slack_seconds))


DEFAULT_TIMINGS: Final = Timings()


@dataclass(frozen=True, slots=True)
class RunView:
    """One run, as its row says. ``plan`` is the part of the split that this run carries out.

    ``epoch`` fences workers: whoever steps must name it. ``attempts`` counts workers that died. ``flat_on_promote`` and
    ``flat_on_demote`` are the world's position policy (``flat_then_enable``, ``disable_then_flat``).
    """

    run_id: str
    kind: RunKind
    state: RunState
    plan: TransitionPlan
    epoch: int = 0
    attempts: int = 0
    drain_until: datetime | None = None
    deadline_at: datetime | None = None
    worker_lease_until: datetime | None = None
    flat_on_promote: bool = False
    flat_on_demote: bool = False


@dataclass(frozen=True, slots=True)
class StepFacts:
    """What the step's own transaction has read, under the lock of the world's row. Each default is the closed side.

    Attributes:
        epoch: the epoch that the worker believes to own; another one is fenced off.
        current: the world's committed set.
        holds: all stored holds of the world and its instances.
        policy_checksum: of the policy in force.
        approved: enough approvals stand for this plan, base, policy and round, or none are needed.
        admissible: the instances that are fresh and PASS in the newest ok evaluation.
        set_valid: ``target_content`` satisfies the budgets (I17).
        closed_since: a database time at which a transaction LATER than the closing one saw the world permit no
            increase, ever since (gate closed, or set empty); for a new world its creation. None: the present step is
            the first to see it closed.
        watched_seconds: for how long the stepping process has itself seen this very drain, on its monotonic clock.
        replaced: the set that the run's own switch replaced, less what is not bound any more. None: where the switch is
            undone, nothing comes back that is not in the current set.
    """

    epoch: int
    current: ActiveSet
    holds: frozenset[Hold]
    policy_checksum: str
    approved: bool = False
    admissible: frozenset[InstanceKey] = frozenset()
    set_valid: bool = False
    closed_since: datetime | None = None
    watched_seconds: float = 0.0
    replaced: ActiveSet | None = None

    @classmethod
    def unread(cls, *, epoch: int) -> StepFacts:
        """Return what is known before anything was read: for what asks about the run and the time alone."""
        return cls(epoch=epoch, current=EMPTY_SET, holds=frozenset(), policy_checksum="")


def target_content(run: RunView, current: ActiveSet) -> ActiveSet:
    """Return the set that the run commits when it switches from ``current``; I17 is checked on this."""
    if run.kind is RunKind.REDUCE:
        return apply_reduce(run.plan, current)
    return merge_after_reduce(run.plan, current)


@dataclass(frozen=True, slots=True)
class BumpEpoch:
    """Raise the run's epoch by one, so that whoever owned it before changes nothing more."""


@dataclass(frozen=True, slots=True)
class SetAttempts:
    """Store how many workers died on this run."""

    attempts: int


@dataclass(frozen=True, slots=True)
class SetDrainUntil:
    """Store when the drain ends; None clears it."""

    at: datetime | None


@dataclass(frozen=True, slots=True)
class SetDeadline:
    """Store when the run is overdue."""

    at: datetime


@dataclass(frozen=True, slots=True)
class SetWorkerLease:
    """Store until when this worker owns the run; None lets anyone go on."""

    until: datetime | None


@dataclass(frozen=True, slots=True)
class StoreResult:
    """Store how the run ended; the same answer is given for ever (I4)."""

    outcome: RunState
    reason: str


@dataclass(frozen=True, slots=True)
class AddHold:
    """Put a hold on the world or on one instance; there already is as good."""

    hold: Hold


@dataclass(frozen=True, slots=True)
class RemoveHold:
    """Take away this one hold, which is the run's own; gone already is as good."""

    kind: HoldKind
    owner: str


@dataclass(frozen=True, slots=True)
class InsertSet:
    """Commit ``content`` as the next generation and make it the world's."""

    content: ActiveSet


@dataclass(frozen=True, slots=True)
class RaiseAlert:
    """Tell people once."""

    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class CountFenced:
    """Count a step that came with an old epoch."""


RunEffect = BumpEpoch | SetAttempts | SetDrainUntil | SetDeadline | SetWorkerLease
"""Effects on the run's own row: ``carried_out`` makes them."""

WorldEffect = StoreResult | AddHold | RemoveHold | InsertSet | RaiseAlert | CountFenced
"""Effects that the service makes, in the transaction of the transition."""

Effect = RunEffect | WorldEffect


@dataclass(frozen=True, slots=True)
class Transition:
    """What one event does to a run: its next state, what else to do in the same transaction, and why.

    Where ``moved`` is false nothing is to be written: the run waits, or the event is not possible in its state.
    """

    state: RunState
    effects: tuple[Effect, ...]
    reason: str
    moved: bool = True

    @property
    def visible(self) -> bool:
        """Tell whether readers see a difference, so that the world's sequence rises by one."""
        return any(isinstance(effect, AddHold | RemoveHold | InsertSet) for effect in self.effects)


def carried_out(run: RunView, transition: Transition) -> RunView:
    """Return the run as its row reads after the transition."""
    after = replace(run, state=transition.state)
    for effect in transition.effects:
        after = _with(after, effect)
    return after


def _with(run: RunView, effect: Effect) -> RunView:
    match effect:
        case BumpEpoch():
            return replace(run, epoch=run.epoch + 1)
        case SetAttempts(attempts):
            return replace(run, attempts=attempts)
        case SetDrainUntil(at):
            return replace(run, drain_until=at)
        case SetDeadline(at):
            return replace(run, deadline_at=at)
        case SetWorkerLease(until):
            return replace(run, worker_lease_until=until)
        case StoreResult() | AddHold() | RemoveHold() | InsertSet() | RaiseAlert() | CountFenced():
            return run


def inserted_set(effects: Iterable[Effect]) -> ActiveSet | None:
    """Return the set that the effects commit, None where they commit none."""
    return next((effect.content for effect in effects if isinstance(effect, InsertSet)), None)
