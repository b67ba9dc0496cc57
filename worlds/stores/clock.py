"""The clocks: the database's time for everything that must agree between machines, a stepped one for replay."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import connection

from worlds.models import World

_SQL = {
    "postgresql": "SELECT statement_timestamp()",
    "sqlite": "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')",
}


def database_now() -> datetime:
    """Return the database's time, aware UTC."""
    with connection.cursor() as cursor:
        cursor.execute(_SQL[connection.vendor])
        (value,) = cursor.fetchone()
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return datetime.fromisoformat(value).replace(tzinfo=UTC)


def world_now(world: World, *, now: datetime) -> datetime:
    """Return the time that decisions and data freshness in this world go by.

    ``now`` is the database's time; a replay world has its own stepped clock, and none before its first step.
    """
    if world.mode == World.Mode.REPLAY and world.replay_now is not None:
        return world.replay_now
    return now
