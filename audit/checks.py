"""Looks whether the database still keeps the audit's rows. Warnings, since ``migrate`` is what mends them.

``manage.py check --database default --fail-level WARNING`` runs these.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.core import checks
from django.core.checks import CheckMessage
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from audit import triggers


def check_triggers(*, databases: Sequence[str] | None = None, **_ignored: object) -> list[CheckMessage]:
    """Warn of protected tables that the database would let anybody change."""
    found: list[CheckMessage] = []
    for name in databases or ():
        found += _missing_triggers(connections[name])
        found += _replaceable_rows(connections[name])
    return found


def _missing_triggers(connection: BaseDatabaseWrapper) -> list[CheckMessage]:
    missing = triggers.missing(connection)
    if not missing:
        return []
    return [
        checks.Warning(
            f"Rows that must never change are not protected: {', '.join(missing)}.",
            hint="Run manage.py migrate, which installs the triggers; then run manage.py audit_verify.",
            id="audit.W001",
        )
    ]


def _replaceable_rows(connection: BaseDatabaseWrapper) -> list[CheckMessage]:
    if connection.vendor != "sqlite":
        return []
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA recursive_triggers")
        if cursor.fetchone()[0]:
            return []
    return [
        checks.Warning(
            "SQLite would let INSERT OR REPLACE pass the triggers.",
            hint="Put PRAGMA recursive_triggers=ON into the init_command of DATABASES.",
            id="audit.W002",
        )
    ]
