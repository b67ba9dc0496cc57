"""Carry apply runs forward: one transaction a transition, never sleeping, safe to call by anyone at any time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

import structlog
from django.db import transaction
from django.db.models import F

from audit.recorder import NewEvent, record, record_all
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import WorldNotFoundError
from qmtl_worlds.contracts.plans import ActiveSet
from qmtl_worlds.contracts.states import TERMINAL_STATES, RunState
from qmtl_worlds.failpoints import reach
from qmtl_worlds.lifecycle.apply import Event, asks, fire, next_step, undoes
from qmtl_worlds.lifecycle.run import (
    AddHold,
    CountFenced,
    Effect,
    InsertSet,
    RaiseAlert,
    RemoveHold,
    RunView,
    StepFacts,
    StoreResult,
    Timings,
    Transition,
    carried_out,
)
from worlds.models import Alert, ApplyRun, GateHold, World
from worlds.selectors import content_of, get_apply_run
from worlds.services.active_sets import commit_set
from worlds.services.alerts import new_alert, raise_alert, raised_event, save_alert, told
from worlds.services.changes import VisibleChange, announce_all, locked_world
from worlds.services.drain_watch import watched_seconds
from worlds.services.holds import place_hold
from worlds.services.projection import project_after_commit
from worlds.services.run_rows import RUN_COLUMNS, timings_of, view_of, write_view
from worlds.services.run_worker import MOVED_COLUMNS, Worker, read_run
from worlds.services.step_facts import replaced_set, step_facts
from worlds.stores.apply_rows import unfinished_reduction
from worlds.stores.world_rows import lock_world

MAX_STEPS: Final = 12
MOST_COUNTED: Final = 1_000
_AUDIT_KINDS: Final = {
    RunState.QUEUED: "apply.queued",
    RunState.FREEZING: "apply.freezing",
    RunState.DRAINING: "apply.draining",
    RunState.FROZEN: "apply.frozen",
    RunState.SWITCHED: "apply.switched",
    RunState.DONE: "apply.completed",
    RunState.CANCELLED: "apply.cancelled",
    RunState.ROLLING_BACK: "apply.rolling_back",
    RunState.ROLLED_BACK: "apply.rolled_back",
    RunState.HELD: "apply.held",
}
_EVENT_KINDS: Final = {
    "rejected": "apply.rejected",
    "superseded": "apply.superseded",
    "expired": "apply.expired",
    "aborted": "apply.aborted",
    "taken_over": "apply.taken_over",
    "resumed": "apply.resumed",
}
_log = structlog.get_logger(__name__)


def advance(*, world_id: str, run_id: str, act: Act) -> ApplyRun:
    """Take the run as far as it goes now, and give it back to whoever comes next.

    A crash anywhere leaves a state; the next call goes on from there.
    """
    # The reducing part of a plan goes first, or the rest starts from another set.
    if (reduce_run_id := unfinished_reduction(world_id, run_id)) is not None:
        advance(world_id=world_id, run_id=reduce_run_id, act=act)
    worker = Worker()
    for _ in range(MAX_STEPS):
        if not _step(world_id, run_id, worker, act):
            break
        reach("advance.between_steps")
    if worker.has_changed_gates:  # one copy of where it rests; what it closed drains for longer than a copy lives
        project_after_commit(world_id=world_id)
    return worker.run or get_apply_run(world_id, run_id)


@transaction.atomic
def count_failure(*, world_id: str, run_id: str) -> None:
    """Count a step that broke as a worker that died; after too many the run is held for a person.

    Far beyond that nothing is counted any more: the column is a small one.
    """
    lock_world(world_id)  # or a step that is under way would write its own count over this one
    failed = ApplyRun.objects.filter(world_id=world_id, run_id=run_id, attempts__lt=MOST_COUNTED)
    failed.update(attempts=F("attempts") + 1)


@transaction.atomic
def fire_event(*, world_id: str, run_id: str, event: Event, act: Act) -> ApplyRun:
    """Let something happen to a run from outside: a decision of a person, an expiry, a newer plan.

    An event that is not possible in the run's state moves nothing; compare the state of the returned run.
    """
    world = locked_world(world_id, alive=False)
    run, _ = read_run(world, run_id)
    view, timings = view_of(run), timings_of(world, now=act.now)
    current = content_of(world.id, world.generation)
    asked = partial(asks, event, view, now=act.now, timings=timings)
    facts = step_facts(asked=asked, run=run, view=view, current=current, epoch=view.epoch, now=act.now)
    facts = _with_replaced(event, run, view, facts, act.now, timings)
    transition = fire(event, view, facts, act.now, timings=timings)
    if transition.moved:
        _carry_out(world, run, carried_out(view, transition), transition, act)
    if transition.visible:
        project_after_commit(world_id=world_id)
    return run


@transaction.atomic
def _step(world_id: str, run_id: str, worker: Worker, act: Act) -> bool:
    """Make one step as the run's worker; tell whether to go on: not where the run waits or has ended.

    The time is read under the lock: one from before would start the drain's clock earlier than the freeze's commit
    where the lock had to be waited for (R4).
    """
    world = lock_world(world_id)
    if world is None:
        raise WorldNotFoundError(world_id)
    run, now = worker.read(world, run_id)
    act = _at(now, act)
    if run.state in TERMINAL_STATES:
        _note_fenced(run, worker.epoch, act)
        return False
    view, timings = view_of(run), worker.timings_of(world, now)
    if worker.epoch is None:
        claimed = _claim(world, run, view, timings, act)
        if claimed is None:
            return False
        view, worker.epoch = claimed, claimed.epoch
    current = worker.set_of(world)
    asked = partial(asks, Event.STEP, view, now=now, timings=timings)
    facts = step_facts(asked=asked, run=run, view=view, current=current, epoch=worker.epoch, now=now)
    facts = _with_replaced(Event.STEP, run, view, facts, now, timings)
    transition = next_step(view, facts, act.now, timings=timings)
    if not transition.moved:
        _note_fenced(run, worker.epoch, act)
        _give_back(run, worker.epoch)
        return False
    after = carried_out(view, transition)
    waits = after.state is RunState.DRAINING and after.drain_until is not None and now < after.drain_until
    if waits:  # for longer than a worker's lease: whoever comes next takes it up
        after = replace(after, worker_lease_until=None)
        transaction.on_commit(partial(watched_seconds, world_id=world_id, run_id=run_id, drain_until=after.drain_until))
    _carry_out(world, run, after, transition, act)
    worker.keep(after, transition, world)
    return not waits and after.state not in TERMINAL_STATES


def _claim(world: World, run: ApplyRun, view: RunView, timings: Timings, act: Act) -> RunView | None:
    """Become the run's worker, where it has none or its worker's lease ran out; that takes no fact but the epoch."""
    reach("advance.before_claim")
    facts = StepFacts.unread(epoch=view.epoch)
    transition = fire(Event.TAKE_OVER, view, facts, act.now, timings=timings)
    if not transition.moved:
        return None
    after = carried_out(view, transition)
    write_view(run=run, view=after)  # saved with what comes of the step, in the same transaction
    if transition.reason in _EVENT_KINDS:
        record_all(chain=world.id, act=act, events=[_event(world, run, transition, before=run.state)])
    reach("advance.after_claim")
    return after


def _with_replaced(
    event: Event, run: ApplyRun, view: RunView, facts: StepFacts, now: datetime, timings: Timings
) -> StepFacts:
    """Add the set that the run replaced, where the event undoes its switch: nothing else asks for it."""
    if not undoes(event, view, facts, now, timings=timings):
        return facts
    return replace(facts, replaced=replaced_set(run))


def _give_back(run: ApplyRun, epoch: int) -> None:
    """Let anyone take up a run that waits; one that another worker has taken over is not ours to give."""
    if run.epoch == epoch:
        run.lease_until = None
        run.save(update_fields=RUN_COLUMNS)


def _carry_out(world: World, run: ApplyRun, after: RunView, transition: Transition, act: Act) -> None:
    """Write one transition: the run's row, the world's rows, sequence, outbox and audit, all or nothing."""
    before_state = run.state
    write_view(run=run, view=after)
    if run.state != before_state:
        run.state_changed_at, run.state_reason = act.now, transition.reason
    for effect in transition.effects:
        _do(effect, world, run, act)
    run.save(update_fields=MOVED_COLUMNS)
    transaction.on_commit(partial(reach, "advance.after_commit", run.state))
    alerts = _come_and_gone(world, run, after, act) if run.state == RunState.DONE else []
    if transition.visible or run.state != before_state:
        payload = {"run_id": run.run_id, "phase": run.state, "generation": world.generation}
        own = VisibleChange(kind="activation_updated" if transition.visible else "apply_updated", payload=payload)
        _, *numbers = announce_all(world, [own, *(told(alert, phase="raised") for alert in alerts)], now=act.now)
        for alert, number in zip(alerts, numbers, strict=True):
            alert.sequence = number
            save_alert(alert)
    reach("advance.before_audit", run.state)
    event = _event(world, run, transition, before=before_state)
    record_all(chain=world.id, act=act, events=[*map(raised_event, alerts), event])
    reach("advance.before_commit", run.state)


def _come_and_gone(world: World, run: ApplyRun, view: RunView, act: Act) -> list[Alert]:
    """Return what is to be said of who came and who left; the run did what its plan said."""
    before, after = view.plan.before.weights.keys(), view.plan.after.weights.keys()
    changed = {"promotion": after - before, "demotion": before - after}
    alerts = (
        new_alert(
            world=world,
            kind=kind,
            subject=run.run_id,
            facts={"instances": sorted(key.text for key in keys), "generation": run.target_generation},
            act=act,
        )
        for kind, keys in changed.items()
        if keys
    )
    return [alert for alert in alerts if alert is not None]


def _do(effect: Effect, world: World, run: ApplyRun, act: Act) -> None:
    """Make one effect on the world; those on the run's own row are in its view already."""
    match effect:
        case AddHold(hold):
            place_hold(world=world, hold=hold, act=act)
        case RemoveHold(kind, owner):
            GateHold.objects.filter(world=world, kind=kind.value, owner=owner).delete()
        case InsertSet(content):
            _switch(world, run, content, act)
        case StoreResult(outcome, reason):
            run.result = {"outcome": outcome.value, "reason": reason, "generation": world.generation}
        case RaiseAlert(kind, reason):
            raise_alert(world=world, kind=kind, subject=reason, facts={"state": run.state}, act=act)
        case CountFenced():
            _log.warning("fenced", world_id=world.id, run_id=run.run_id)
        case _:
            return


def _switch(world: World, run: ApplyRun, content: ActiveSet, act: Act) -> None:
    committed = commit_set(world=world, run=run, content=content, act=act)
    run.target_generation = committed.generation


def _event(world: World, run: ApplyRun, transition: Transition, *, before: str) -> NewEvent:
    kind = _EVENT_KINDS.get(transition.reason)
    told = before == RunState.ROLLING_BACK and run.state == RunState.ROLLED_BACK  # that it was aborted
    if kind is None or told:
        kind = _AUDIT_KINDS[RunState(run.state)]
    return {
        "kind": kind,
        "subject": run.kind,
        "before": {"state": before},
        "after": {
            "state": run.state,
            "reason": transition.reason,
            "generation": world.generation,
            "epoch": run.epoch,
        },
        "run_id": run.run_id,
        "policy_version": run.policy.version,
    }


def _note_fenced(run: ApplyRun, epoch: int | None, act: Act) -> None:
    """Count a worker that lost its run to another one: its audit row is the count, and all that it changes."""
    if epoch in {None, run.epoch}:
        return
    facts = {"epoch": epoch, "current": run.epoch, "state": run.state}
    record(chain=run.world_id, kind="apply.fenced", act=act, subject=run.kind, after=facts, run_id=run.run_id)
    _log.warning("fenced", world_id=run.world_id, run_id=run.run_id)


def _at(now: datetime, act: Act) -> Act:
    return Act(act.actor, act.reason, now, act.request_id, act.person, act.grants)
