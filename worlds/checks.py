"""Looks at how the server is deployed. ``manage.py check --deploy --database default`` runs these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from django.db import connections

from qmtl_worlds import failpoints

_TOO_MUCH: Final = (
    "SELECT current_user, has_schema_privilege(current_schema(), 'CREATE') OR EXISTS (SELECT 1 FROM pg_class "
    "WHERE relname = 'audit_auditevent' AND pg_table_is_visible(oid) "
    "AND has_table_privilege(oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER'))"
)


def check_dev_open(**_ignored: object) -> list[CheckMessage]:
    """Refuse to deploy a server that answers without tokens."""
    if not settings.DEV_OPEN:
        return []
    message = "QW_DEV_OPEN lets everybody on this machine call without a token."
    return [checks.Error(message, hint="Unset QW_DEV_OPEN, and make tokens.", id="worlds.E001")]


def check_failpoints(**_ignored: object) -> list[CheckMessage]:
    """Refuse to deploy processes that a test may kill."""
    if not failpoints.armed_points():
        return []
    message = f"Failpoints are armed: {', '.join(failpoints.armed_points())}."
    return [checks.Error(message, hint="Unset QW_FAILPOINTS.", id="worlds.E002")]


def check_database_role(*, databases: Sequence[str] | None = None, **_ignored: object) -> list[CheckMessage]:
    """Warn where the server connects as somebody who could change the audit or the tables themselves."""
    found: list[CheckMessage] = []
    for name in databases or ():
        if connections[name].vendor != "postgresql":
            continue
        with connections[name].cursor() as cursor:
            cursor.execute(_TOO_MUCH)
            user, too_much = cursor.fetchone()
        if too_much:
            found.append(
                checks.Warning(
                    f"The server connects to PostgreSQL as {user!r}, who may change tables and the audit's rows.",
                    hint="Make the roles with manage.py database_roles, and put the app role into DATABASE_URL.",
                    id="worlds.W001",
                )
            )
    return found
