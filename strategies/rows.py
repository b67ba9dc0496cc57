"""Rows that carry packed bytes, fetched without the detours of an ORM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from django.db import connection


def fetch_packed(sql: str, parameters: Sequence[str | int]) -> list[tuple[Any, ...]]:
    """Run a statement on Django's connection and return its rows, packed columns as bytes.

    PostgreSQL is asked for its binary form: else it spells bytes in hexadecimal, at twice the size and time.
    """
    if connection.vendor != "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        return cursor.execute(sql, parameters, binary=True).fetchall()


def placeholders(values: Sequence[object]) -> str:
    """Return ``(%s, %s, ...)``, one for each value."""
    return f"({', '.join(['%s'] * len(values))})"
