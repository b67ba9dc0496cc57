from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection

from audit import trigger_sql


@pytest.fixture
def tamper() -> Callable[..., None]:
    """Run SQL as somebody who owns the database and has switched our triggers off."""

    def run(sql: str, *parameters: str) -> None:
        for name, table in trigger_sql.installed(connection).items():
            trigger_sql.drop(connection, name, table)
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)

    return run
