"""Go back to a past generation: forward, as a new one, through the same machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from django.db import transaction

from audit.recorder import record
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.digests import digest
from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.ids import InstanceKey, check_object_id
from qmtl_worlds.contracts.plans import TransitionPlan
from qmtl_worlds.failpoints import reach
from qmtl_worlds.lifecycle.holds import HoldKind, barred
from qmtl_worlds.lifecycle.rollback import RollbackPreview, preview, rollback_plan
from worlds.models import World
from worlds.selectors import content_of, get_world, members_of, policy_in_force, set_of
from worlds.services.apply import Requested
from worlds.services.budgets import caps_of, evaluations_behind, exposures_of
from worlds.services.changes import locked_world
from worlds.services.pins import pin_set
from worlds.services.runs import NewRun, Started, start_parts, started_before
from worlds.services.step_facts import fresh_keys, newest_ok_run, still_bound, world_holds
from worlds.stores.clock import database_now
from worlds.stores.world_rows import Member


@dataclass(frozen=True, slots=True)
class RollbackRequest:
    """Which generation to go back to, under which run id, and until when to pin the set (None: until unpinned)."""

    run_id: str
    to_generation: int
    pin_expires_at: datetime | None = None

    @property
    def digest(self) -> str:
        """Return what decides whether a repeated run id is the same request."""
        pinned = [self.pin_expires_at.isoformat()] if self.pin_expires_at else []
        return digest([self.run_id, "rollback", self.to_generation, *pinned])


def preview_rollback(*, world_id: str, to_generation: int, act: Act) -> RollbackPreview:
    """Return what going back would lead to now: who comes, who is left out and why, whose weight is scaled.

    Raises:
        GenerationNotFoundError: the world never had that generation.
    """
    act.require("world.read", world_id)
    return _preview(get_world(world_id), to_generation, database_now())


def request_rollback(*, world_id: str, request: RollbackRequest, act: Act) -> Requested:
    """Start the runs that lead back; reductions switch at once, increases need approval.

    The set is pinned: increases start by a person only until somebody unpins it, another policy is in force, or the pin
    expires. That holds too where nothing but the reductions went, since another increase is under way.

    Raises:
        GenerationNotFoundError: the world never had that generation.
        RunIdReusedError: the run id belongs to another request.
        WorldBusyError: another increase is under way.
    """
    act.require("rollback.request", world_id)
    check_object_id(request.run_id, field="run_id")
    started = _request(world_id, request, act)
    return started if isinstance(started, Requested) else Requested(started.answering(world_id), replayed=False)


@transaction.atomic
def _request(world_id: str, request: RollbackRequest, act: Act) -> Requested | Started:
    world = locked_world(world_id)
    if before := started_before(world=world, run_id=request.run_id, request_digest=request.digest):
        return Requested(before.run, replayed=True) if before.run else before
    if request.pin_expires_at is not None and request.pin_expires_at <= act.now:
        raise InputInvalidError(field="pin_expires_at", reason="must lie in the future")
    if request.to_generation >= world.generation:
        raise InputInvalidError(field="to_generation", reason=f"must be before generation {world.generation}")
    plan = _plan(world, request, act.now)
    record(
        chain=world.id,
        kind="rollback.requested",
        act=act,
        after={"to_generation": request.to_generation, "plan_hash": plan.plan_hash},
        run_id=request.run_id,
    )
    new = NewRun(
        world,
        request.run_id,
        plan,
        policy_in_force(world),
        newest_ok_run(world.id),
        request.digest,
        rollback_to=request.to_generation,
    )
    started = start_parts(new=new, act=act, auto=False)
    if started.run is not None or started.reduce is not None:
        pin_set(world=world, generation=request.to_generation, expires_at=request.pin_expires_at, act=act)
    transaction.on_commit(partial(reach, "rollback.after_commit"))
    reach("rollback.before_commit")
    return started


def _plan(world: World, request: RollbackRequest, now: datetime) -> TransitionPlan:
    before = content_of(world.id, world.generation)
    after = _preview(world, request.to_generation, now).content
    plan = TransitionPlan(world.id, world.generation, policy_in_force(world).checksum, before, after)
    return rollback_plan(plan)


def _preview(world: World, to_generation: int, now: datetime) -> RollbackPreview:
    target, caps = members_of(world.id, to_generation), caps_of(policy_in_force(world))
    evaluations = evaluations_behind(world_id=world.id, generation=to_generation, newest=newest_ok_run(world.id))
    return preview(
        set_of(target),
        current=content_of(world.id, world.generation),
        barred=_barred(world, target, now),
        caps=caps,
        exposures=exposures_of(caps=caps, world_id=world.id, keys=target, evaluations=evaluations),
    )


def _barred(world: World, target: Mapping[InstanceKey, Member], now: datetime) -> dict[InstanceKey, str]:
    """Name why members of the target may not come back: withdrawn, killed or deactivated, or data that is stale."""
    keys = frozenset(target)
    gone = dict.fromkeys(keys - still_bound(world=world, members=target), HoldKind.WITHDRAWN.value)
    stale = dict.fromkeys(keys - fresh_keys(world=world, keys=keys, now=now), HoldKind.STALE.value)
    holds = world_holds(world)
    out = barred(holds)
    held = {hold.key: hold.kind.value for hold in holds if hold.key in out and hold.key in keys}
    return stale | gone | held
