from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import redis

from worlds.models import OutboxEvent, Relay, World
from worlds.services.changes import announce, locked_world
from worlds.services.event_log import Events, Snapshot, events_since
from worlds.stores.bus import ACTIVATION, MARKS_KEY, TOPICS
from worlds.stores.clock import database_now


def change(world: World, times: int = 1, *, kind: str = "activation_updated", **payload: object) -> None:
    for _ in range(times):
        announce(locked_world(world.id), kind=kind, payload=payload, now=database_now())


def told(client: redis.Redis, world: World, topic: str | None = None) -> list[dict[str, Any]]:
    """Return a world's events of one topic, or of all, in the order of the streams."""
    topics = TOPICS if topic is None else (topic,)
    streams: list[Any] = [client.xrange(one) for one in topics]
    entries = [fields for stream in streams for _, fields in stream]
    return [json.loads(fields[b"event"]) for fields in entries if fields[b"key"] == world.id.encode()]


def sequences(events: list[dict[str, Any]]) -> list[int]:
    return [int(event["sequence"]) for event in events]


def every_sequence(world: World) -> list[int]:
    world.refresh_from_db()
    return list(range(1, world.sequence + 1))


def saved(client: redis.Redis) -> Callable[[], None]:
    """Keep what the bus holds now; the answer brings it back, as a replica does that lags."""
    kept = {key: client.dump(key) for key in (MARKS_KEY, ACTIVATION)}

    def bring_back() -> None:
        for key, value in kept.items():
            assert value is not None
            client.restore(key, 0, value, replace=True)

    return bring_back


def relayed(world: World) -> int:
    return Relay.objects.get(world=world).relayed


def age(world: World, upto: int, days: int = 8) -> None:
    OutboxEvent.objects.filter(world=world, sequence__lte=upto).update(created_at=database_now() - timedelta(days=days))


def asked(world: World, sequence: int, **more: int) -> Events | Snapshot:
    return events_since(world_id=world.id, sequence=sequence, **more)
