"""The clocks: the database's time for everything that must agree between machines, a stepped one for replay."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import connection
from django.db.models import DateTimeField
from django.db.models.expressions import RawSQL

from worlds.models import World

_NOW = {
    "postgresql": "statement_timestamp()",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')",
}


def now_expression() -> str:
    """Return the SQL of the database's time; what a statement reads by it is read after it."""
    return _NOW[connection.vendor]


def statement_time() -> RawSQL:
    """Return the expression that reads the database's time beside rows."""
    return RawSQL(now_expression().replace("%", "%%"), (), output_field=DateTimeField())  # noqa: S611 - ours


def database_now() -> datetime:
    """Return the database's time, aware UTC."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {now_expression()}")
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
