"""Make apply runs: the reducing part of a plan goes at once, the increasing part is governed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from django.db.models import QuerySet

from audit.models import AuditRun
from audit.recorder import NewEvent, record_all
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.digests import digest
from qmtl_worlds.contracts.errors import RunIdReusedError, WorldBusyError
from qmtl_worlds.contracts.plans import ActiveSet, TransitionPlan
from qmtl_worlds.contracts.states import EXCLUSIVE_STATES, RunKind, RunState
from qmtl_worlds.lifecycle.apply import Event, initial_state
from qmtl_worlds.lifecycle.plan import PlanSplit, split
from worlds.models import ApplyRun, PolicyVersion, World
from worlds.services.advance import fire_event
from worlds.services.changes import VisibleChange, announce_all
from worlds.services.dispatch import ADVANCE, ring_after_commit
from worlds.services.run_rows import compiled

RUN_ID_LENGTH: Final = 128
_REDUCE: Final = ":reduce"


@dataclass(frozen=True, slots=True)
class NewRun:
    """What an apply run is made of; ``request_digest`` says which request it belongs to.

    ``reduced`` is the set after the part that waits for nobody, where the plan is a decision's.
    """

    world: World
    run_id: str
    plan: TransitionPlan
    policy: PolicyVersion
    evaluation: AuditRun | None = None
    request_digest: str = ""
    rollback_to: int | None = None
    reduce_run: ApplyRun | None = None
    reduced: ActiveSet | None = None

    @property
    def parts(self) -> PlanSplit:
        """Return the two runs that the plan makes."""
        return split(self.plan, reduced=self.reduced)

    def carrying(self, plan: TransitionPlan, *, run_id: str = "", reduce_run: ApplyRun | None = None) -> NewRun:
        """Return the run of a part of the plan, under another id where one is given."""
        return replace(self, plan=plan, run_id=run_id or self.run_id, reduce_run=reduce_run)


@dataclass(frozen=True, slots=True)
class Started:
    """What came of a plan: the run that answers for the request, or the ``holder`` in whose way its increase stands.

    ``reduce`` is the part that only takes away: it goes ahead whoever holds the world.
    """

    run: ApplyRun | None = None
    reduce: ApplyRun | None = None
    holder: ApplyRun | None = None

    def answering(self, world_id: str) -> ApplyRun:
        """Return the run that answers for the request, once the transaction that started it is committed.

        Raises:
            WorldBusyError: the increase was not started.
        """
        if self.run is None:
            reduce = self.reduce.run_id if self.reduce else None
            raise WorldBusyError(
                world_id, holder_run_id=self.holder.run_id if self.holder else "", reduce_run_id=reduce
            )
        return self.run


def create_reduce_run(*, new: NewRun, act: Act) -> ApplyRun:
    """Make a run that only takes away: queued at once, it waits for nobody. The caller holds the world's lock."""
    run = _insert(new, RunKind.REDUCE, act, auto=True)
    _tell(new, [run], act)
    return run


def start_parts(*, new: NewRun, act: Act, auto: bool) -> Started:
    """Make the reduce and the increase run of a plan. The caller holds the world's lock.

    What only takes away is a run of its own, and waits for nobody; the increase is not made while another one is under
    way, and older ones that still wait for approval give way to it. ``auto`` lets it go ahead without another approval:
    for plans inside what people approved with the policy version. A plan without changes makes a run that ends at once.

    Raises:
        RunIdReusedError: the name of the reducing part is taken.
    """
    parts = new.parts
    if parts.increase is None:
        return Started(create_reduce_run(new=new.carrying(parts.reduce or new.plan), act=act))
    reduce = None if parts.reduce is None else _insert_reducing_part(new, parts.reduce, act)
    increase, holder = None, busy_run(new.world)
    if holder is None:
        supersede(world=new.world, runs=waiting_runs(new.world), act=act)
        part = new.carrying(parts.increase, reduce_run=reduce)
        increase = _insert(part, RunKind.INCREASE, act, auto=auto)
    _tell(new, [run for run in (reduce, increase) if run is not None], act)
    return Started(increase, reduce, holder)


def start_reducing_part(*, new: NewRun, part: TransitionPlan, act: Act) -> ApplyRun:
    """Let what a plan only takes away go ahead, as a run of its own.

    Raises:
        RunIdReusedError: its name is taken.
    """
    run = _insert_reducing_part(new, part, act)
    _tell(new, [run], act)
    return run


def started_before(*, world: World, run_id: str, request_digest: str) -> Started | None:
    """Return what came of the same request before, also where it met another increase that is still under way.

    None where the id is new. The caller holds the world's lock.

    Raises:
        RunIdReusedError: the id belongs to another request.
    """
    reduce_id = reduce_run_id(run_id)
    named = {run.run_id: run for run in ApplyRun.objects.filter(world=world, run_id__in=[run_id, reduce_id]).order_by()}
    if (known := named.get(run_id)) is not None:
        if known.request_digest != request_digest:
            raise RunIdReusedError(run_id, request_digest=known.request_digest)
        return Started(known)
    reduce = named.get(reduce_id)
    if reduce is None or reduce.request_digest != request_digest or (holder := busy_run(world)) is None:
        return None
    return Started(reduce=reduce, holder=holder)


def busy_run(world: World) -> ApplyRun | None:
    """Return the increase run that holds the world, None where it is free."""
    exclusive = [state.value for state in EXCLUSIVE_STATES]
    return ApplyRun.objects.filter(world=world, kind=RunKind.INCREASE, state__in=exclusive).first()


def reduce_run_id(run_id: str) -> str:
    """Name the reducing part of a request; of a long run id the end gives way to a digest."""
    if len(run_id) > RUN_ID_LENGTH - len(_REDUCE):
        run_id = f"{run_id[:96]}.{digest(run_id)[-16:]}"
    return f"{run_id}{_REDUCE}"


def waiting_runs(world: World) -> QuerySet[ApplyRun]:
    """Return the increase runs that wait for approval."""
    return ApplyRun.objects.filter(world=world, kind=RunKind.INCREASE, state=RunState.REQUESTED)


def supersede(*, world: World, runs: Iterable[ApplyRun], act: Act) -> None:
    """End runs that wait for approval of a plan that is outdated. The caller holds the world's lock."""
    outdated = tuple(runs)
    for older in outdated:
        fire_event(world_id=world.id, run_id=older.run_id, event=Event.SUPERSEDE, act=act)
    if outdated:
        world.refresh_from_db(fields=["sequence"])


def _insert_reducing_part(new: NewRun, part: TransitionPlan, act: Act) -> ApplyRun:
    run_id = reduce_run_id(new.run_id)
    holder = ApplyRun.objects.filter(world=new.world, run_id=run_id).first()
    if holder is not None:
        raise RunIdReusedError(run_id, request_digest=holder.request_digest)
    return _insert(new.carrying(part, run_id=run_id), RunKind.REDUCE, act, auto=True)


def _insert(new: NewRun, kind: RunKind, act: Act, *, auto: bool) -> ApplyRun:
    document = compiled(new.policy).document.apply
    state = initial_state(kind, needs_approval=not auto)
    return ApplyRun.objects.create(
        world=new.world,
        run_id=new.run_id,
        kind=kind.value,
        state=state.value,
        request_digest=new.request_digest or digest([new.run_id, new.plan.plan_hash]),
        plan=new.plan.to_json(),
        plan_hash=new.plan.plan_hash,
        base_generation=new.plan.base_generation,
        policy=new.policy,
        evaluation=new.evaluation,
        reduce_run=new.reduce_run,
        rollback_to=new.rollback_to,
        auto=auto,
        approvals_needed=document.approvals,
        requested_by=act.actor,
        requester_person=act.person,
        reason=act.reason,
        request_id=act.request_id,
        requested_at=act.now,
        approval_expires_at=act.now + document.expiry,
        state_changed_at=act.now,
    )


def _tell(new: NewRun, runs: Sequence[ApplyRun], act: Act) -> None:
    """Announce, record and ring for the runs that were made of ``new``: none, or one for each part of its plan."""
    if not runs:  # all of the plan is an increase, and another one is under way
        return
    changes = [VisibleChange(kind="apply_updated", payload={"run_id": run.run_id, "phase": run.state}) for run in runs]
    announce_all(new.world, changes, now=act.now)
    record_all(chain=new.world.id, act=act, events=[event for run in runs for event in _events_of(new, run)])
    for run in runs:
        if run.state == RunState.QUEUED:  # one that waits for approval is rung for when it has it
            ring_after_commit(task=ADVANCE, queue="control", world_id=new.world.id, run_id=run.run_id)


def _events_of(new: NewRun, run: ApplyRun) -> Iterator[NewEvent]:
    yield {
        "kind": "apply.requested",
        "subject": run.kind,
        "after": {"plan_hash": run.plan_hash, "plan": run.plan, "state": run.state, "auto": run.auto},
        "run_id": run.run_id,
        "policy_version": new.policy.version,
    }
    if run.run_id != new.run_id:
        split = {"reduce_run_id": run.run_id, "plan_hash": new.plan.plan_hash}
        yield {"kind": "apply.split", "after": split, "run_id": new.run_id}
