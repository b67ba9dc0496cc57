"""Migrations take their time: the time-outs of requests would end one on a busy machine, or on a large table."""

from __future__ import annotations

from typing import Final

from django.db import connections

TIMEOUTS: Final = ("statement_timeout", "idle_in_transaction_session_timeout")
"""PostgreSQL's; a lock that is not had within its time still ends a migration, before others queue behind it."""


def take_time(*, using: str, **_signal: object) -> None:
    """Lift the time-outs of the connection that migrates."""
    _execute(using, "SET {} = 0")


def take_no_more_time(*, using: str, **_signal: object) -> None:
    """Give the connection back the time-outs that it was opened with."""
    _execute(using, "RESET {}")


def _execute(using: str, statement: str) -> None:
    if connections[using].vendor != "postgresql":
        return
    with connections[using].cursor() as cursor:
        for name in TIMEOUTS:
            cursor.execute(statement.format(name))
