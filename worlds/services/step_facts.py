"""What a step of an apply run must know, read under the lock of the world's row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final

from django.db.models import QuerySet

from audit.models import AuditRun, AuditRunState, RunKind
from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.plans import ActiveSet, active_set
from qmtl_worlds.contracts.states import RunState
from qmtl_worlds.lifecycle import guards
from qmtl_worlds.lifecycle.holds import Hold, HoldKind, make_hold
from qmtl_worlds.lifecycle.plan import gaining
from qmtl_worlds.lifecycle.run import RunView, StepFacts, target_content
from strategies.models import StrategyInstance
from worlds.models import ApplyRun, World
from worlds.selectors import members_of
from worlds.services.approval_facts import enough_approvals
from worlds.services.budgets import satisfies_budgets
from worlds.services.drain_watch import watched_seconds
from worlds.services.run_rows import hold_of
from worlds.stores.clock import world_now
from worlds.stores.kill_file import filed_kills
from worlds.stores.world_rows import Member, read_holds

OF_POLICY: Final = (guards.policy_current, guards.policy_changed)


def step_facts(
    *, asked: Callable[..., bool], run: ApplyRun, view: RunView, current: ActiveSet, epoch: int, now: datetime
) -> StepFacts:
    """Read everything that is ``asked`` (see ``lifecycle.apply.asks``); else each answer is the closed one.

    ``run.world`` is the locked world, ``current`` its set. What an undone switch replaced is ``replaced_set``.
    """
    world = run.world
    gains, budgets = asked(guards.gains_fresh, guards.gains_stale), asked(guards.set_valid, guards.set_invalid)
    target = target_content(view, current) if gains or budgets else current
    return StepFacts(
        epoch=epoch,
        current=current,
        holds=world_holds(world),
        policy_checksum=_checksum_in_force(world, run) if asked(*OF_POLICY) else "",
        approved=asked(guards.approved, guards.unapproved) and enough_approvals(run, now=now),
        admissible=_admissible(world, run, gaining(current, target), now) if gains else frozenset(),
        set_valid=budgets and satisfies_budgets(run=run, content=target, before=current),
        closed_since=world.created_at if world.generation == 0 else None,
        watched_seconds=_watched_seconds(world, view),
    )


def world_holds(world: World) -> frozenset[Hold]:
    """Return the stored holds, kills that wait for their row, and the hold of a world that is not in use."""
    holds = frozenset(map(hold_of, read_holds(world.id))) | filed_holds(world.id)
    if world.state == World.State.ACTIVE:
        return holds
    return holds | {make_hold(HoldKind.SUSPENDED, world.id)}


def filed_holds(world_id: str) -> frozenset[Hold]:
    """Return the holds of kills that only a file stands for so far."""
    return frozenset(
        make_hold(HoldKind.KILL, filed.actor, key=InstanceKey.from_text(filed.scope) if filed.scope else None)
        for filed in filed_kills(world_id)
    )


def replaced_set(run: ApplyRun) -> ActiveSet | None:
    """Return the set before the run's switch, less what is not bound any more; None where the run has not switched."""
    if run.target_generation is None:
        return None
    replaced = members_of(run.world_id, run.target_generation - 1)
    bound = still_bound(world=run.world, members=replaced)
    return active_set((key, member.weight) for key, member in replaced.items() if key in bound)


def newest_ok_run(world_id: str) -> AuditRun | None:
    """Return the evaluation of the latest data that decided something, None where there is none.

    Of several on the same data the last one counts; a look back into the past, and one on metrics from a request's
    body, prove nothing about now.
    """
    return _ok_runs(world_id).first()


def newest_decision(world_id: str) -> tuple[str, datetime] | None:
    """Return the run id of that evaluation, and the time of its data."""
    return _ok_runs(world_id).values_list("run_id", "as_of").first()


def fresh_keys(*, world: World, keys: Iterable[InstanceKey], now: datetime) -> frozenset[InstanceKey]:
    """Return those of ``keys`` that are bound, wanted and fresh by the world's clock."""
    return _keys_of(_fresh(world, keys, now))


def still_bound(*, world: World, members: Mapping[InstanceKey, Member]) -> frozenset[InstanceKey]:
    """Return those of ``members`` that are bound and wanted, under the params that they had: others are others."""
    bound = _keys_of(_bound(world, members))
    return frozenset(key for key, member in members.items() if key in bound and member.withdrawn_at is None)


def _checksum_in_force(world: World, run: ApplyRun) -> str:
    if world.policy_id == run.policy_id:
        return run.policy.checksum
    return world.policy.checksum if world.policy else ""


def _fresh(world: World, keys: Iterable[InstanceKey], now: datetime) -> QuerySet[StrategyInstance]:
    return _bound(world, keys).filter(fresh_until__gte=world_now(world, now=now))


def _bound(world: World, keys: Iterable[InstanceKey]) -> QuerySet[StrategyInstance]:
    names = {key.strategy_id for key in keys}
    bound = StrategyInstance.objects.filter(world=world, strategy_id__in=names, withdrawn_at=None, wanted=True)
    return bound.order_by()


def _keys_of(instances: QuerySet[StrategyInstance]) -> frozenset[InstanceKey]:
    return frozenset(InstanceKey(name, Side(side)) for name, side in instances.values_list("strategy_id", "side"))


def _watched_seconds(world: World, view: RunView) -> float:
    """A drain is seen only once its state is committed: the freeze is visible to all by then (R4)."""
    if view.state is not RunState.DRAINING:
        return 0.0
    return watched_seconds(world_id=world.id, run_id=view.run_id, drain_until=view.drain_until)


def _admissible(world: World, run: ApplyRun, keys: Iterable[InstanceKey], now: datetime) -> frozenset[InstanceKey]:
    """Return who may gain weight now; a rollback asks for freshness only (SEMANTICS 5: what it leaves out).

    An instance that took the place of the one that was decided on, under other params, may not. In a compatibility
    world plans name whom they want, and freshness is all that is asked.
    """
    fresh = _fresh(world, keys, now)
    if world.compat:
        return _keys_of(fresh)
    if run.rollback_to is not None:
        return _keys_of(fresh) & still_bound(world=world, members=members_of(world.id, run.rollback_to))
    known = fresh.filter(bound_at__lte=run.evaluation.started_at if run.evaluation else run.requested_at)
    return _eligible(world.id, _keys_of(known))


def _eligible(world_id: str, keys: Iterable[InstanceKey]) -> frozenset[InstanceKey]:
    """Only eligible instances have a rank, and every member of the decided set that has one is named."""
    newest = _ok_runs(world_id).only("envelope").first()
    if newest is None:
        return frozenset()
    ranks = json.loads(newest.decision_bytes())["ranks"]
    return frozenset(key for key in keys if key.text in ranks)


def _ok_runs(world_id: str) -> QuerySet[AuditRun]:
    decided = AuditRun.objects.filter(world_id=world_id, state=AuditRunState.OK).exclude(kind=RunKind.ADVISORY)
    return decided.order_by("-as_of", "-id")
