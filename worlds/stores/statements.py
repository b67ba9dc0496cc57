"""Statements that are written out, for what is asked so often that making them would take longer than answering."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import connection


def rows_of(sql: str, *parameters: str | int | datetime) -> list[tuple[Any, ...]]:
    """Run a statement and return its rows; aware times are given as the database stores them."""
    given = [adapted(one) if isinstance(one, datetime) else one for one in parameters]
    with connection.cursor() as cursor:
        cursor.execute(sql, given)
        return list(cursor.fetchall())


def adapted(moment: datetime) -> Any:
    """Return an aware time as the database compares it."""
    return connection.ops.adapt_datetimefield_value(moment)


def time_of(value: datetime | str | None) -> Any:
    """Return an aware time; SQLite has texts, and what Django makes of them."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if value is None:
        return None
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
