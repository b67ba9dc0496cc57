"""What a stream says: server-sent events with the state of a world, encoded once for all who may see the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import msgspec

from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.lifecycle.gate import world_gate
from worlds.live.snapshot import Prepared, WorldSnapshot
from worlds.live.store import Confirmed

SNAPSHOT: Final = b"snapshot"
ACTIVATION: Final = b"activation"
HEARTBEAT: Final = b"heartbeat"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a stream is about: one strategy in full, or the members of the set in short.

    ``visible`` limits a token to its strategies, None means all.
    """

    strategy_id: str | None = None
    visible: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Clock:
    """What every frame of one moment says of time: the process's monotonic clock, and what is left of the lease."""

    server_ms: float
    lease_ms: int


def clock_of(held: Confirmed, state: WorldSnapshot, *, now: float, leased: bool) -> Clock:
    """Return the times of a frame built at ``now`` (monotonic).

    The lease is 0 without a right to act, and for a state that is not the one that was confirmed last: a permission
    that is past may not live on by a later confirmation (I1).
    """
    lasts = leased and held.snapshot.is_same_as(state) and held.snapshot.is_confirmed(now=now, confirmed_at=held.at)
    return Clock(now * 1000, int((held.snapshot.lease_seconds - (now - held.at)) * 1000) if lasts else 0)


def event(kind: bytes, snapshot: WorldSnapshot, clock: Clock, entries: bytes | None = None) -> bytes:
    """Return one event; ``entries`` is JSON, None where the event only renews."""
    head = _head(snapshot, clock)
    data = head if entries is None else b'%s,"entries":%s}' % (head[:-1], entries)
    return b"event: %s\nid: %s\ndata: %s\n\n" % (kind, snapshot.position.text.encode(), data)


def end(reason: str) -> bytes:
    """Return the last event of a stream."""
    return b"event: end\ndata: %s\n\n" % msgspec.json.encode({"reason": reason})


def entries_of(snapshot: WorldSnapshot, wanted: Wanted, *, now: float) -> bytes:
    """Return all that a stream is about, as JSON."""
    if wanted.strategy_id is not None:
        sides = [InstanceKey(wanted.strategy_id, side) for side in (Side.LONG, Side.SHORT)]
        visible = wanted.visible is None or wanted.strategy_id in wanted.visible
        return _array(_full(snapshot.prepared(key, now=now, visible=visible)) for key in sides)
    return _array(msgspec.json.encode(row) for row in _short(snapshot, wanted, now=now).values())


def entries_between(before: WorldSnapshot, after: WorldSnapshot, wanted: Wanted, *, now: float) -> bytes:
    """Return what differs between two states, as JSON; of one strategy always all."""
    if wanted.strategy_id is not None:
        return entries_of(after, wanted, now=now)
    old, new = _short(before, wanted, now=now), _short(after, wanted, now=now)
    gone = (after.prepared(key, now=now) for key in old.keys() - new.keys())
    changed = [row for key, row in new.items() if old.get(key) != row]
    return _array(msgspec.json.encode(row) for row in [*changed, *(_row(one) for one in gone)])


def _head(snapshot: WorldSnapshot, clock: Clock) -> bytes:
    facts = snapshot.facts
    gate = world_gate(facts)
    return msgspec.json.encode(
        {
            "world_id": facts.world_id,
            "generation": facts.generation,
            "sequence": facts.position.sequence,
            "state_hash": facts.state_hash,
            "gate": gate.level.value,
            "reason": gate.reason.value,
            "mode": facts.mode.value,
            "server_ms": clock.server_ms,
            "lease_ms": clock.lease_ms,
        }
    )


def _full(prepared: Prepared) -> bytes:
    """Return an envelope with the time, on the server's clock, at which it turns stale by itself."""
    return b'{"activation":%s,"changes_at_ms":%s}' % (prepared.body, msgspec.json.encode(_changes_at_ms(prepared)))


def _changes_at_ms(prepared: Prepared) -> float | None:
    return prepared.changes_at * 1000 if isfinite(prepared.changes_at) else None


def _short(snapshot: WorldSnapshot, wanted: Wanted, *, now: float) -> dict[InstanceKey, dict[str, Any]]:
    return {key: _row(snapshot.prepared(key, now=now)) for key in _told(snapshot, wanted)}


def _told(snapshot: WorldSnapshot, wanted: Wanted) -> Iterator[InstanceKey]:
    scoped = {hold.key for hold in snapshot.facts.holds if hold.key is not None}
    for key, entry in snapshot.entries.items():
        if entry.weight <= 0 and key not in scoped:
            continue
        if wanted.visible is None or key.strategy_id in wanted.visible:
            yield key


def _row(prepared: Prepared) -> dict[str, Any]:
    said = prepared.envelope
    return {
        "strategy_id": said.strategy_id,
        "side": said.side.value,
        "active": said.active,
        "weight": said.weight,
        "gate": said.gate.value,
        "reason": said.reason,
        "changes_at_ms": _changes_at_ms(prepared),
    }


def _array(parts: Iterable[bytes]) -> bytes:
    return b"[%s]" % b",".join(parts)
