"""Read worlds from the rows into memory, as little as the change asks for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final

from audit.chain import kill_chain
from audit.models import AuditHead
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.lease import Position
from worlds.live.snapshot import Entries, WorldSnapshot
from worlds.models import World
from worlds.services.gate_facts import completed, entries_of, entry_facts, read_world, with_entries
from worlds.stores.world_rows import read_events

_WORLD_ONLY: Final = frozenset({"apply_updated", "evaluation_run_created", "evaluation_run_updated", "alert"})
"""Events after which every instance is as it was."""
_ACTIVATION: Final = "activation_updated"
_HOLDS: Final = frozenset({"freeze", "kill"})
"""Holds stand beside the entries: a world of ten thousand is frozen and killed without reading one of them again."""
_ONE_INSTANCE: Final = "freshness_updated"
_OF_HOLDS: Final = frozenset({"hold", "hold_lifted", "hold_sequence"})
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


def positions_of(world_ids: Iterable[str]) -> tuple[dict[str, Position], float]:
    """Return where each of the worlds is, and the monotonic time before it was read."""
    started, world_ids = time.monotonic(), tuple(world_ids)
    chains = {kill_chain(world_id): world_id for world_id in world_ids}
    kills = dict(AuditHead.objects.filter(chain__in=chains).values_list("chain", "seq"))
    rows = World.objects.filter(id__in=world_ids).values_list("id", "incarnation", "sequence")
    found = {
        world_id: Position(incarnation, sequence, kills.get(kill_chain(world_id), 0))
        for world_id, incarnation, sequence in rows
    }
    return found, started


def _entries(world: World, held: WorldSnapshot | None, changed: frozenset[InstanceKey] | None) -> Entries:
    if held is None or changed is None:
        return entry_facts(world=world)
    return {**held.entries, **entries_of(world=world, keys=changed)}


def _changed(world: World, held: WorldSnapshot | None) -> frozenset[InstanceKey] | None:
    """Return which instances may differ from what they are in ``held``; None where that is not known.

    The events up to the world's sequence never change, so that they may be read after the world.
    """
    if held is None or not held.facts.confirmed or world.generation != held.facts.generation:
        return None
    since = held.position
    if world.incarnation != since.incarnation:
        return None
    if world.sequence == since.sequence:
        return _NOBODY
    rows = read_events(world.id, after=since.sequence, until=world.sequence, limit=_MOST_EVENTS + 1)
    if len(rows) != world.sequence - since.sequence:
        return None
    changed = set()
    for kind, payload in rows:
        if kind == _ONE_INSTANCE and "key" in payload:
            changed.add(InstanceKey.from_text(payload["key"]))
        elif kind not in _WORLD_ONLY and not _is_about_a_hold(kind, payload):
            return None
    return frozenset(changed)


def _is_about_a_hold(kind: str, payload: Mapping[str, object]) -> bool:
    hold = payload.get("hold", payload.get("hold_lifted"))
    return kind == _ACTIVATION and payload.keys() <= _OF_HOLDS and hold in _HOLDS
