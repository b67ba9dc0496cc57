"""What is committed for a world's gates, as the values from which the answer follows."""

from __future__ import annotations

from datetime import datetime

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.states import WorldMode
from qmtl_worlds.lifecycle.gate import EntryFacts, WorldFacts, state_hash
from qmtl_worlds.lifecycle.holds import HoldKind
from qmtl_worlds.lifecycle.world import effective_mode
from strategies.models import StrategyInstance
from worlds.models import ActivationSet, OutboxEvent, World
from worlds.selectors import members_of, position_of, set_of
from worlds.services.step_facts import world_holds
from worlds.stores.clock import world_now


def world_facts(*, world: World, now: datetime) -> WorldFacts:
    """Return what holds for the world as a whole; ``now`` is the database's time."""
    position, mode = position_of(world), WorldMode(world.mode)
    holds = world_holds(world)
    current = ActivationSet.objects.select_related("run").filter(world=world, generation=world.generation).first()
    content = set_of(members_of(world.id, world.generation))
    at = world_now(world, now=now)
    return WorldFacts(
        world_id=world.id,
        mode=mode,
        effective_mode=effective_mode(
            mode,
            has_policy=world.policy_id is not None,
            anything_fresh=StrategyInstance.objects.filter(
                world=world, withdrawn_at=None, fresh_until__gte=at
            ).exists(),
            circuit_open=any(hold.kind is HoldKind.CIRCUIT for hold in holds),
            has_applied_set=world.generation > 0,
        ),
        has_applied_set=world.generation > 0,
        holds=holds,
        position=position,
        generation=world.generation,
        run_id=current.run.run_id if current else "",
        changed_at=_changed_at(world),
        state_hash=state_hash(
            world_id=world.id, position=position, generation=world.generation, content=content, holds=holds
        ),
    )


def entry_facts(*, world: World) -> dict[InstanceKey, EntryFacts]:
    """Return what is committed for every instance that is bound or still in the set, by key."""
    members = members_of(world.id, world.generation)
    bound = StrategyInstance.objects.filter(world=world, withdrawn_at=None)
    facts = {
        instance.key: EntryFacts(key=instance.key, bound=True, fresh_until=instance.fresh_until) for instance in bound
    }
    for key, member in members.items():
        facts[key] = EntryFacts(key=key, bound=True, weight=member.weight, fresh_until=member.fresh_until)
    return facts


def one_entry(*, world: World, key: InstanceKey) -> EntryFacts:
    """Return what is committed for one instance; one that nobody ever bound is unknown, and closed.

    An instance that was withdrawn stays known: it may still let go of what it holds.
    """
    member = members_of(world.id, world.generation).get(key)
    if member is not None:
        return EntryFacts(key=key, bound=True, weight=member.weight, fresh_until=member.fresh_until)
    known = StrategyInstance.objects.filter(world=world, strategy_id=key.strategy_id, side=key.side)
    instance = known.order_by("-bound_at", "-id").first()
    if instance is None:
        return EntryFacts(key=key)
    return EntryFacts(key=key, bound=True, fresh_until=None if instance.withdrawn_at else instance.fresh_until)


def _changed_at(world: World) -> datetime:
    last = OutboxEvent.objects.filter(world=world, sequence=world.sequence).values_list("created_at", flat=True).first()
    return last or world.changed_at
