"""Bring strategies into a world and take them out; what leaves stops trading at once."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import PermissionDeniedError
from qmtl_worlds.contracts.ids import InstanceKey, Side
from strategies.series import SeriesRows
from strategies.services.append import IngestResult, SeriesTarget, append_returns
from strategies.services.bind import Binding, BindResult, bind_strategies
from strategies.services.currency import refresh_world_currency
from strategies.services.roster import RosterChange, set_roster
from strategies.services.withdraw import withdraw_strategy
from worlds.services.changes import announce, locked_world
from worlds.services.freshness import freshness_rule
from worlds.services.withdrawals import withdraw_members


@transaction.atomic
def bind(*, world_id: str, bindings: Sequence[Binding], act: Act) -> BindResult:
    """Bind strategies as candidates; other params than before withdraw the old instance and start a new one."""
    for binding in bindings:
        act.require("strategy.bind", world_id, strategy_id=binding.strategy_id)
    act.require("strategy.bind", world_id)
    world = locked_world(world_id)
    result = bind_strategies(world_id=world_id, bindings=bindings, act=act)
    withdraw_members(world=world, keys=result.rebound, act=act)
    if new := [key.text for key in (*result.bound, *result.rebound)]:
        announce(world, kind="bindings_updated", payload={"bound": new}, now=act.now)  # unknown was stricter (R6)
    if result.updated and refresh_world_currency(world_id=world.id, rule=freshness_rule(world)):
        payload = {"keys": [key.text for key in result.updated]}  # a shorter bar is fresh for a shorter time
        announce(world, kind="freshness_updated", payload=payload, now=act.now)
    return result


@transaction.atomic
def unbind(*, world_id: str, strategy_id: str, side: Side | None, act: Act) -> tuple[InstanceKey, ...]:
    """Take a strategy out of the world: its gate takes exits only from now, and the next reduce run drops it."""
    act.require("strategy.unbind", world_id, strategy_id=strategy_id)
    world = locked_world(world_id)
    left = withdraw_strategy(world_id=world_id, strategy_id=strategy_id, side=side, act=act)
    withdraw_members(world=world, keys=left, act=act)
    return left


@transaction.atomic
def choose_roster(*, world_id: str, strategies: Sequence[str], act: Act) -> RosterChange:
    """Replace the list of wanted strategies; leaving it means withdrawn.

    Raises:
        PermissionDeniedError: the actor's token is limited to some strategies, and this is about all of them.
    """
    act.require("strategy.bind", world_id)
    if act.grants.strategies is not None:
        raise PermissionDeniedError(act.actor, permission="strategy.bind of every strategy")
    world = locked_world(world_id)
    change = set_roster(world_id=world_id, strategies=strategies, act=act)
    withdraw_members(world=world, keys=change.left, act=act)
    return change


@transaction.atomic
def ingest(*, target: SeriesTarget, rows: SeriesRows, revise: bool, act: Act) -> IngestResult:
    """Take in return rows and extend freshness; the read path turns stale by itself when they stop coming.

    The copy in Redis is left to the next tick: it is for display, and thousands of series come in one after another.
    """
    act.require("series.push", target.world_id, strategy_id=target.strategy_id)
    world = locked_world(target.world_id)
    result = append_returns(target=target, rows=rows, revise=revise, rule=freshness_rule(world), act=act)
    if result.fresh_until != result.was_fresh_until:
        payload = {
            "fresh_until": result.fresh_until.isoformat() if result.fresh_until else None,
            "key": result.key.text,
        }
        announce(world, kind="freshness_updated", payload=payload, now=act.now)
    return result
