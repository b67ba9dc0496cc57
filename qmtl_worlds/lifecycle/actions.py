"""What the apply table asks to be done, said in effects that the service carries out in one transaction."""

from __future__ import annotations

from datetime import datetime, timedelta

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.states import RunKind
from qmtl_worlds.lifecycle.guards import Moment
from qmtl_worlds.lifecycle.holds import HoldKind, barred, make_hold, own_hold
from qmtl_worlds.lifecycle.plan import revert_after_reduce
from qmtl_worlds.lifecycle.run import (
    AddHold,
    BumpEpoch,
    Effect,
    InsertSet,
    RaiseAlert,
    RemoveHold,
    RunView,
    SetAttempts,
    SetDeadline,
    SetDrainUntil,
    SetWorkerLease,
    target_content,
)


def freeze(moment: Moment) -> tuple[Effect, ...]:
    """Close the gate, and count the run's time from here."""
    return BumpEpoch(), AddHold(own_hold(moment.run.run_id)), SetDeadline(_deadline(moment)), SetDrainUntil(None)


def start_drain(moment: Moment) -> tuple[Effect, ...]:
    """Start the drain's clock; the freeze is visible to all by now, since this is a later transaction (R4, B10)."""
    seen = moment.facts.closed_since
    return (SetDrainUntil(min(seen or moment.now, moment.now) + moment.timings.drain),)


def switch(moment: Moment) -> tuple[Effect, ...]:
    """Commit the new set, and hold what the position policy wants flat first; nothing new commits nothing."""
    current = moment.facts.current
    content = target_content(moment.run, current)
    if content == current and moment.run.kind is RunKind.REDUCE:
        return ()
    flats = [make_hold(HoldKind.AWAITING_FLAT, _flat_owner(moment.run, key), key=key) for key in _to_flatten(moment)]
    return (InsertSet(content), *(AddHold(hold) for hold in flats))


def undo_switch(moment: Moment) -> tuple[Effect, ...]:
    """Commit the base's content again under a new generation (R8), and let go of what this run wanted flat."""
    plan, facts = moment.run.plan, moment.facts
    replaced = facts.current if facts.replaced is None else facts.replaced
    content = revert_after_reduce(plan, facts.current, replaced=replaced, barred=barred(facts.holds))
    came, left = plan.after.weights.keys(), plan.before.weights.keys()
    freed = sorted((came - left) | ((left - came) & content.weights.keys()))
    flats = (RemoveHold(HoldKind.AWAITING_FLAT, _flat_owner(moment.run, key)) for key in freed)
    return InsertSet(content), *flats


def unfreeze(moment: Moment) -> tuple[Effect, ...]:
    """Take the run's own hold away; other holds keep the gate as they do."""
    return (RemoveHold(HoldKind.APPLY, moment.run.run_id),)


def keep_closed(moment: Moment) -> tuple[Effect, ...]:
    """Keep the run's own hold, put it back where it has gone, and let no worker go on."""
    return BumpEpoch(), AddHold(own_hold(moment.run.run_id)), SetWorkerLease(None)


def alert_held(moment: Moment) -> tuple[Effect, ...]:
    """Call a person: nothing goes on without one."""
    return (RaiseAlert("run_held", moment.run.run_id),)


def alert_failed(moment: Moment) -> tuple[Effect, ...]:
    """Tell that planned changes did not happen."""
    return (RaiseAlert("apply_failed", moment.run.run_id),)


def start_again(moment: Moment) -> tuple[Effect, ...]:
    """Give the run a new deadline and a clean count; the drain is done anew."""
    return SetAttempts(0), SetDeadline(_deadline(moment)), SetDrainUntil(None)


def fence(_moment: Moment) -> tuple[Effect, ...]:
    """Make sure that a worker which is under way changes nothing any more."""
    return (BumpEpoch(),)


def claim(moment: Moment) -> tuple[Effect, ...]:
    """Make the caller the run's worker."""
    until = moment.now + timedelta(seconds=moment.timings.worker_lease_seconds)
    return BumpEpoch(), SetWorkerLease(until)


def count_death(moment: Moment) -> tuple[Effect, ...]:
    """Count the worker that died."""
    return (SetAttempts(moment.run.attempts + 1),)


def restart_drain(moment: Moment) -> tuple[Effect, ...]:
    """Drain from the beginning, since nobody knows what the dead worker saw (R4); never shorter than before (R5)."""
    until = moment.now + moment.timings.drain
    return (SetDrainUntil(max(moment.run.drain_until or until, until)),)


def _deadline(moment: Moment) -> datetime:
    return moment.now + timedelta(seconds=moment.timings.run_deadline_seconds)


def _to_flatten(moment: Moment) -> list[InstanceKey]:
    run, current = moment.run, moment.facts.current.weights.keys()
    content = target_content(run, moment.facts.current).weights.keys()
    came = content - current if run.flat_on_promote else frozenset()
    left = current - content if run.flat_on_demote else frozenset()
    return sorted(came | left)


def _flat_owner(run: RunView, key: InstanceKey) -> str:
    return f"{run.run_id}:{key.text}"
