"""What is committed for a world's gates, as the values from which the answer follows."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Generic, TypeVar

from django.db.models import QuerySet

from qmtl_worlds.contracts.activation import GateLevel
from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.contracts.errors import WorldNotFoundError
from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.contracts.plans import EMPTY_SET
from qmtl_worlds.contracts.states import WorldMode
from qmtl_worlds.lifecycle.gate import EntryFacts, WorldFacts, state_hash
from qmtl_worlds.lifecycle.holds import Hold, HoldKind, make_hold
from qmtl_worlds.lifecycle.override import NO_CAP
from qmtl_worlds.lifecycle.world import effective_mode
from strategies.models import StrategyInstance
from worlds.models import World
from worlds.selectors import find_override, members_of
from worlds.services.run_rows import hold_of
from worlds.services.step_facts import filed_holds
from worlds.stores.clock import world_now
from worlds.stores.world_rows import Member, MemberRow, WorldRow, read_caps, read_members, read_position, read_world_row

READ_ATTEMPTS: Final = 5
Entries = TypeVar("Entries")


@dataclass(frozen=True, slots=True)
class Committed(Generic[Entries]):
    """What was committed at one position.

    ``world`` has what gates ask for, and no policy: ``policy_checksum`` is that of the one in force, None for none.
    ``at`` is the world's time of the reading, ``started`` the monotonic time before it, from which permissions count
    (R1).
    """

    world: World
    policy_checksum: str | None
    facts: WorldFacts
    entries: Entries
    at: datetime
    started: float


def read_committed(*, world_id: str, read: Callable[[World], Entries]) -> Committed[Entries]:
    """Read a world's facts, and by ``read`` its entries, all of one position (I2).

    Raises:
        WorldNotFoundError: there is no such world.
    """
    return completed(read_world(world_id=world_id), read=read)


def completed(reading: Committed[None], *, read: Callable[[World], Entries]) -> Committed[Entries]:
    """Add to a reading, by ``read``, the entries of its position; what had changed meanwhile is read anew.

    The rows take several statements, between which another state may be committed; every visible change raises the
    position, so that a reading is whole if and only if the position is the same afterwards. One that never comes out
    whole is not confirmed, and opens nothing.

    Raises:
        WorldNotFoundError: there is no such world any more.
    """
    world_id, whole = reading.world.id, with_entries(reading, read(reading.world))
    for _ in range(READ_ATTEMPTS):
        if read_position(world_id) == whole.facts.position:
            return whole
        reading = read_world(world_id=world_id)
        whole = with_entries(reading, read(reading.world))
    return replace(whole, facts=replace(whole.facts, confirmed=False))


def with_entries(reading: Committed[None], entries: Entries) -> Committed[Entries]:
    """Add entries that are of the reading's position."""
    return Committed(
        reading.world, reading.policy_checksum, reading.facts, entries, at=reading.at, started=reading.started
    )


def read_world(*, world_id: str) -> Committed[None]:
    """Read what holds for the world as a whole, by one statement: it is of one position by itself.

    Kills that only a file stands for are looked for first: a file goes after its row has come.

    Raises:
        WorldNotFoundError: there is no such world.
    """
    started, filed = boot_time(), filed_holds(world_id)
    row = read_world_row(world_id)
    if row is None:
        raise WorldNotFoundError(world_id)
    facts = _facts(row, filed | frozenset(hold_of(hold) for hold in row.holds))
    return Committed(row.world, row.policy_checksum, facts, None, world_now(row.world, now=row.now), started)


def entry_facts(*, world: World) -> dict[InstanceKey, EntryFacts]:
    """Return what is committed for every instance that is bound or still in the set, by key."""
    bound = StrategyInstance.objects.filter(world=world, withdrawn_at=None)
    return _bound_facts(bound) | member_facts(world=world)


def entries_of(*, world: World, keys: Collection[InstanceKey]) -> dict[InstanceKey, EntryFacts]:
    """Return what is committed for some instances, as ``one_entry`` does for one."""
    if not keys:
        return {}
    members = member_facts(world=world)
    known = StrategyInstance.objects.filter(world=world, strategy_id__in={key.strategy_id for key in keys})
    facts = _bound_facts(known.order_by("bound_at", "id")) | members
    return {key: facts.get(key, EntryFacts(key=key)) for key in keys}


def member_facts(*, world: World) -> dict[InstanceKey, EntryFacts]:
    """Return what is committed for the members of the set, by key."""
    members, caps = read_members(world.id, world.generation), read_caps(world.id)
    return {one.key: _member_facts(one, caps.get(one.key.text, NO_CAP)) for one in members}


def one_entry(*, world: World, key: InstanceKey) -> EntryFacts:
    """Return what is committed for one instance; one that nobody ever bound is unknown, and closed.

    An instance that was withdrawn stays known: it may still let go of what it holds.
    """
    member = members_of(world.id, world.generation).get(key)
    if member is not None:
        override = find_override(world.id, key.text)
        return _member_facts(member, override.cap if override else NO_CAP)
    known = StrategyInstance.objects.filter(world=world, strategy_id=key.strategy_id, side=key.side)
    instance = known.order_by("-bound_at", "-id").first()
    if instance is None:
        return EntryFacts(key=key)
    return EntryFacts(key=key, bound=True, fresh_until=None if instance.withdrawn_at else instance.fresh_until)


def _bound_facts(instances: QuerySet[StrategyInstance]) -> dict[InstanceKey, EntryFacts]:
    """Read values, not objects: a world may have ten thousand; of one key the last row counts."""
    rows = instances.values_list("strategy_id", "side", "fresh_until", "withdrawn_at").iterator(chunk_size=1000)
    keyed = ((InstanceKey(name, Side(side)), until, withdrawn) for name, side, until, withdrawn in rows)
    return {key: EntryFacts(key, bound=True, fresh_until=None if out else until) for key, until, out in keyed}


def _member_facts(member: Member | MemberRow, cap: float) -> EntryFacts:
    return EntryFacts(key=member.key, bound=True, weight=member.weight, cap=cap, fresh_until=member.fresh_until)


def _facts(row: WorldRow, holds: frozenset[Hold]) -> WorldFacts:
    world, mode = row.world, WorldMode(row.world.mode)
    position = Position(world.incarnation, world.sequence, row.kills)
    if world.state != World.State.ACTIVE:
        holds |= {make_hold(HoldKind.SUSPENDED, world.id)}
    return WorldFacts(
        world_id=world.id,
        mode=mode,
        effective_mode=effective_mode(
            mode,
            has_policy=world.policy_id is not None,
            anything_fresh=row.anything_fresh,
            circuit_open=any(hold.kind is HoldKind.CIRCUIT for hold in holds),
            has_applied_set=world.generation > 0,
        ),
        has_applied_set=world.generation > 0,
        holds=holds,
        position=position,
        generation=world.generation,
        run_id=row.run_id or "",
        changed_at=row.told_at or world.changed_at,
        state_hash=state_hash(
            world_id=world.id,
            position=position,
            generation=world.generation,
            content_hash=row.content_hash or EMPTY_SET.content_hash,
            holds=holds,
        ),
        on_expiry=GateLevel(world.on_lease_expiry),
    )
