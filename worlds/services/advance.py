"""Carry apply runs forward: one transaction a transition, never sleeping, safe to call by anyone at any time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

import structlog
from django.db import transaction
from django.db.models import F

from audit.recorder import record
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.plans import EMPTY_SET, ActiveSet
from qmtl_worlds.contracts.states import TERMINAL_STATES, RunState
from qmtl_worlds.failpoints import reach
from qmtl_worlds.lifecycle.apply import Event, fire, next_step
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
from worlds.models import ApplyRun, GateHold, World
from worlds.selectors import content_of, get_apply_run
from worlds.services.active_sets import commit_set
from worlds.services.alerts import raise_alert
from worlds.services.changes import announce, locked_world
from worlds.services.holds import place_hold
from worlds.services.projection import project_after_commit
from worlds.services.run_rows import RUN_COLUMNS, timings_of, view_of, write_view
from worlds.services.step_facts import step_facts
from worlds.stores.clock import database_now, statement_time

MAX_STEPS: Final = 12
MOVED_COLUMNS: Final = (*RUN_COLUMNS, "state_changed_at", "state_reason", "result", "target_generation")
CHANGING_COLUMNS: Final = (*MOVED_COLUMNS, "auto", "approvals_needed", "approval_round", "approval_expires_at")
"""All of a run's row but what it was made of."""
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


@dataclass(slots=True)
class Worker:
    """Who carries a run forward in one call: under which epoch, None before its claim, and what it did.

    ``run`` is the row as the last step left it; what never changes of it is read once. ``timings`` are the world's at
    ``sequence``, ``current`` is its set at ``generation``.
    """

    epoch: int | None = None
    has_changed_gates: bool = False
    run: ApplyRun | None = None
    timings: Timings | None = None
    sequence: int = 0
    current: ActiveSet = EMPTY_SET
    generation: int = 0


def advance(*, world_id: str, run_id: str, act: Act) -> ApplyRun:
    """Take the run as far as it goes now, and give it back to whoever comes next.

    A crash anywhere leaves a state; the next call goes on from there.
    """
    first = ApplyRun.objects.filter(world_id=world_id, increase_runs__run_id=run_id).exclude(state__in=TERMINAL_STATES)
    # The reducing part of a plan goes first, or the rest starts from another set.
    for reduce_run_id in first.values_list("run_id", flat=True):
        advance(world_id=world_id, run_id=reduce_run_id, act=act)
    worker = Worker()
    for _ in range(MAX_STEPS):
        if not _step(world_id, run_id, worker, act):
            break
        reach("advance.between_steps")
    if worker.has_changed_gates:  # one copy of where it rests; what it closed drains for longer than a copy lives
        project_after_commit(world_id=world_id)
    return worker.run or get_apply_run(world_id, run_id)


def count_failure(*, world_id: str, run_id: str) -> None:
    """Count a step that broke as a worker that died; after too many the run is held for a person."""
    ApplyRun.objects.filter(world_id=world_id, run_id=run_id).update(attempts=F("attempts") + 1)


@transaction.atomic
def fire_event(*, world_id: str, run_id: str, event: Event, act: Act) -> ApplyRun:
    """Let something happen to a run from outside: a decision of a person, an expiry, a newer plan.

    An event that is not possible in the run's state moves nothing; compare the state of the returned run.
    """
    world = locked_world(world_id, alive=False)
    run = _run_of(world, run_id)
    view = view_of(run)
    current = content_of(world.id, world.generation)
    facts = step_facts(event=event, run=run, view=view, current=current, epoch=view.epoch, now=act.now)
    transition = fire(event, view, facts, act.now, timings=timings_of(world, now=act.now))
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
    world = locked_world(world_id, alive=False)
    run, now = _read_again(world, worker.run) if worker.run else (_run_of(world, run_id), database_now())
    act, worker.run = _at(now, act), run
    if run.state in TERMINAL_STATES:
        _note_fenced(run, worker.epoch, act)
        return False
    view, timings = view_of(run), _timings(world, worker, now)
    if worker.epoch is None:
        claimed = _claim(world, run, view, timings, act)
        if claimed is None:
            return False
        view, worker.epoch = claimed, claimed.epoch
    current = _current(world, worker)
    facts = step_facts(event=Event.STEP, run=run, view=view, current=current, epoch=worker.epoch, now=act.now)
    transition = next_step(view, facts, act.now, timings=timings)
    if not transition.moved:
        _note_fenced(run, worker.epoch, act)
        _give_back(run, worker.epoch)
        return False
    after = carried_out(view, transition)
    _carry_out(world, run, after, transition, act)
    worker.epoch, worker.sequence = after.epoch, world.sequence
    worker.has_changed_gates |= transition.visible
    return after.state not in TERMINAL_STATES


def _run_of(world: World, run_id: str) -> ApplyRun:
    run = get_apply_run(world.id, run_id)
    run.world = world
    return run


def _read_again(world: World, run: ApplyRun) -> tuple[ApplyRun, datetime]:
    """Return the run as it is under the world's lock, by what may change of it, and the time."""
    row = ApplyRun.objects.filter(pk=run.pk).values(*CHANGING_COLUMNS, read_at=statement_time()).get()
    now = row.pop("read_at")
    for column, value in row.items():
        setattr(run, column, value)
    run.world = world
    return run, now


def _timings(world: World, worker: Worker, now: datetime) -> Timings:
    """Return the world's lengths of time; they change with its sequence only, and no drain may be shorter than then."""
    if worker.timings is None or worker.sequence != world.sequence:
        worker.timings = timings_of(world, now=now)
    return worker.timings


def _current(world: World, worker: Worker) -> ActiveSet:
    """Return the world's set; one that is committed never changes."""
    if worker.generation != world.generation:
        worker.current, worker.generation = content_of(world.id, world.generation), world.generation
    return worker.current


def _claim(world: World, run: ApplyRun, view: RunView, timings: Timings, act: Act) -> RunView | None:
    """Become the run's worker, where it has none or its worker's lease ran out; that takes no fact but the epoch."""
    reach("advance.before_claim")
    facts = StepFacts(epoch=view.epoch, current=EMPTY_SET, holds=frozenset(), policy_checksum="")
    transition = fire(Event.TAKE_OVER, view, facts, act.now, timings=timings)
    if not transition.moved:
        return None
    after = carried_out(view, transition)
    write_view(run=run, view=after)
    run.save(update_fields=RUN_COLUMNS)
    if transition.reason in _EVENT_KINDS:
        _record(world, run, transition, act, before=run.state)
    reach("advance.after_claim")
    return after


def _give_back(run: ApplyRun, epoch: int) -> None:
    if ApplyRun.objects.filter(pk=run.pk, epoch=epoch).update(lease_until=None):
        run.lease_until = None


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
    payload = {"run_id": run.run_id, "phase": run.state, "generation": world.generation}
    if transition.visible or run.state != before_state:
        announce(
            world, kind="activation_updated" if transition.visible else "apply_updated", payload=payload, now=act.now
        )
    if run.state == RunState.DONE:
        _tell_changes(world, run, after, act)
    reach("advance.before_audit", run.state)
    _record(world, run, transition, act, before=before_state)
    reach("advance.before_commit", run.state)


def _tell_changes(world: World, run: ApplyRun, view: RunView, act: Act) -> None:
    """Say who came and who left; the run did what its plan said."""
    before, after = view.plan.before.weights.keys(), view.plan.after.weights.keys()
    for kind, keys in (("promotion", after - before), ("demotion", before - after)):
        if keys:
            facts = {"instances": sorted(key.text for key in keys), "generation": run.target_generation}
            raise_alert(world=world, kind=kind, subject=run.run_id, facts=facts, act=act)


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


def _record(world: World, run: ApplyRun, transition: Transition, act: Act, *, before: str) -> None:
    kind = _EVENT_KINDS.get(transition.reason)
    told = before == RunState.ROLLING_BACK and run.state == RunState.ROLLED_BACK  # that it was aborted
    if kind is None or told:
        kind = _AUDIT_KINDS[RunState(run.state)]
    facts = {"state": run.state, "reason": transition.reason, "generation": world.generation, "epoch": run.epoch}
    record(
        chain=world.id,
        kind=kind,
        act=act,
        subject=run.kind,
        before={"state": before},
        after=facts,
        run_id=run.run_id,
        policy_version=run.policy.version,
    )


def _note_fenced(run: ApplyRun, epoch: int | None, act: Act) -> None:
    """Count a worker that lost its run to another one: its audit row is the count, and all that it changes."""
    if epoch in {None, run.epoch}:
        return
    facts = {"epoch": epoch, "current": run.epoch, "state": run.state}
    record(chain=run.world_id, kind="apply.fenced", act=act, subject=run.kind, after=facts, run_id=run.run_id)
    _log.warning("fenced", world_id=run.world_id, run_id=run.run_id)


def _at(now: datetime, act: Act) -> Act:
    return Act(act.actor, act.reason, now, act.request_id, act.person, act.grants)
