from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connection
from pytest_django import Settings

from audit import trigger_sql
from tests.audit.factories import write_events
from tests.audit.signed import Outside, checkpoint, write_key


@pytest.fixture
def tamper() -> Callable[..., None]:
    """Run SQL as somebody who owns the database and has switched our triggers off."""

    def run(sql: str, *parameters: str) -> None:
        for name, table in trigger_sql.installed(connection).items():
            trigger_sql.drop(connection, name, table)
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)

    return run


@pytest.fixture
def key(tmp_path: Path, settings: Settings) -> Path:
    """The signing key of this installation."""
    path = write_key(tmp_path / "key.pem")
    settings.AUDIT_SIGNING_KEY_FILE = path
    return path


@pytest.fixture
def outside(tmp_path: Path, key: Path) -> Outside:
    """Five rows of w1 and two of w2, signed; the checkpoints kept elsewhere."""
    write_events(5)
    write_events(2, chain="w2")
    return Outside(checkpoint(tmp_path / "checkpoints.jsonl"), key.with_suffix(".pub"))
