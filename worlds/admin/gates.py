"""The gates of many worlds at once, by the same rules as the answer to an order, in a fixed number of queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Max

from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.contracts.states import EffectiveMode, WorldMode
from qmtl_worlds.lifecycle.gate import WorldFacts, world_gate
from qmtl_worlds.lifecycle.holds import Gate, Hold, HoldKind, make_hold
from qmtl_worlds.lifecycle.world import effective_mode
from strategies.models import StrategyInstance
from worlds.models import GateHold, World
from worlds.services.run_rows import hold_of
from worlds.services.step_facts import filed_holds
from worlds.stores.clock import world_now


@dataclass(frozen=True, slots=True)
class WorldGate:
    """How far a world's gate is open, why, and what the world may do."""

    gate: Gate
    effective_mode: EffectiveMode


def gates_of(worlds: Sequence[World], *, now: datetime) -> dict[str, WorldGate]:
    """Return the gate of each world by id; two queries, however many worlds."""
    holds = _world_holds(worlds)
    bound = StrategyInstance.objects.filter(world__in=worlds, withdrawn_at=None)
    newest = dict(bound.order_by().values_list("world_id").annotate(Max("fresh_until")))
    return {world.id: _gate_of(world, holds[world.id], newest.get(world.id), now) for world in worlds}


def _world_holds(worlds: Sequence[World]) -> dict[str, frozenset[Hold]]:
    found: defaultdict[str, set[Hold]] = defaultdict(set)
    for row in GateHold.objects.filter(world__in=worlds, scope=""):
        found[row.world_id].add(hold_of(row))
    for world in worlds:
        found[world.id] |= {hold for hold in filed_holds(world.id) if hold.key is None}
        if world.state != World.State.ACTIVE:
            found[world.id].add(make_hold(HoldKind.SUSPENDED, world.id))
    return {world.id: frozenset(found[world.id]) for world in worlds}


def _gate_of(world: World, holds: frozenset[Hold], fresh_until: datetime | None, now: datetime) -> WorldGate:
    mode = effective_mode(
        WorldMode(world.mode),
        has_policy=world.policy_id is not None,
        anything_fresh=fresh_until is not None and fresh_until >= world_now(world, now=now),
        circuit_open=any(hold.kind is HoldKind.CIRCUIT for hold in holds),
        has_applied_set=world.generation > 0,
    )
    facts = WorldFacts(
        world_id=world.id,
        mode=WorldMode(world.mode),
        effective_mode=mode,
        has_applied_set=world.generation > 0,
        holds=holds,
        position=Position(world.incarnation, world.sequence, 0),
        generation=world.generation,
        run_id="",
        changed_at=world.changed_at,
        state_hash="",
    )
    return WorldGate(world_gate(facts), mode)
