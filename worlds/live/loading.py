"""Read worlds from the rows into memory, as little as the change asks for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.lease import Position
from worlds.live.snapshot import Entries, WorldSnapshot
from worlds.models import World
from worlds.services.gate_facts import completed, entries_of, entry_facts, read_world, with_entries
from worlds.stores.world_rows import read_events, read_members, read_positions

_WORLD_ONLY: Final = frozenset({"apply_updated", "evaluation_run_created", "evaluation_run_updated", "alert"})
"""Events after which every instance is as it was."""
_ACTIVATION: Final = "activation_updated"
_HOLDS: Final = frozenset({"freeze", "kill"})
"""Holds stand beside the entries: a world of ten thousand is frozen and killed without reading one of them again."""
_ONE_INSTANCE: Final = "freshness_updated"
_OF_HOLDS: Final = frozenset({"hold", "hold_lifted", "hold_sequence"})
_OF_RUNS: Final = frozenset({"run_id", "phase", "generation"})
"""A run places and lifts a hold, and changes no instance but those of the sets before and after its switch."""
_OF_OVERRIDES: Final = frozenset({"override", "cap", "override_lifted"})
_LEAVING: Final = "deactivated"
_MOST_EVENTS: Final = 200
_NOBODY: Final[frozenset[InstanceKey]] = frozenset()


def load_world(world_id: str, *, held: WorldSnapshot | None = None) -> tuple[WorldSnapshot, float]:
    """Read a world, all of one position; return it with the monotonic time before the reading.

    With ``held``, the entries that cannot have changed since are taken from it.

    Raises:
        WorldNotFoundError: there is no such world.
    """
    reading = read_world(world_id=world_id)
    changed = _changed(reading.world, held)
    if held is not None and changed == _NOBODY:
        return WorldSnapshot(with_entries(reading, held.entries)), reading.started

    def read(world: World) -> Entries:
        return _entries(world, held, changed if world is reading.world else _changed(world, held))

    whole = completed(reading, read=read)
    return WorldSnapshot(whole), whole.started


def positions_of(world_ids: Collection[str]) -> tuple[dict[str, Position], float]:
    """Return where each of the worlds is, and the monotonic time before it was read."""
    started = boot_time()
    return read_positions(world_ids), started


def _entries(world: World, held: WorldSnapshot | None, changed: frozenset[InstanceKey] | None) -> Entries:
    if held is None or changed is None:
        return entry_facts(world=world)
    return {**held.entries, **entries_of(world=world, keys=changed)}


def _changed(world: World, held: WorldSnapshot | None) -> frozenset[InstanceKey] | None:
    """Return which instances may differ from what they are in ``held``; None where that is not known.

    The events up to the world's sequence never change, nor do sets, so that they may be read after the world.
    """
    if held is None or not held.facts.confirmed:
        return None
    since = held.position
    if world.incarnation != since.incarnation:
        return None
    if world.sequence == since.sequence:
        return _NOBODY
    rows = read_events(world.id, after=since.sequence, until=world.sequence, limit=_MOST_EVENTS + 1)
    told = [_told_of(kind, payload) for kind, payload in rows]
    if len(rows) != world.sequence - since.sequence or None in told:
        return None
    switched = {held.facts.generation, world.generation} if held.facts.generation != world.generation else set()
    members = (one.key for generation in switched for one in read_members(world.id, generation))
    return frozenset(members).union(*(keys for keys in told if keys))


def _told_of(kind: str, payload: Mapping[str, Any]) -> frozenset[InstanceKey] | None:
    """Return whom an event is about beside the members of the set; None where it does not say."""
    if kind in _WORLD_ONLY:
        return _NOBODY
    if kind == _ONE_INSTANCE and "key" in payload:
        return frozenset({InstanceKey.from_text(payload["key"])})
    if kind != _ACTIVATION or not payload:
        return None
    if payload.keys() == {_LEAVING}:
        return frozenset(map(InstanceKey.from_text, payload[_LEAVING]))
    if payload.keys() <= _OF_OVERRIDES:
        return frozenset({InstanceKey.from_text(payload.get("override", payload.get("override_lifted", "")))})
    is_hold = payload.keys() <= _OF_HOLDS and payload.get("hold", payload.get("hold_lifted")) in _HOLDS
    return _NOBODY if is_hold or payload.keys() == _OF_RUNS else None
