"""No byte of what the audit keeps can change unnoticed. Numbers of rows that mean nothing are no part of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import DataError, IntegrityError, connection, transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from audit import trigger_sql
from audit.chain import kill_chain
from audit.checkpoints import sign_due
from audit.models import AuditRun
from audit.recorder import record
from audit.runs import fail_run
from tests.audit.commands import verify
from tests.audit.factories import NOON, act, finished_run, running_run, write_events
from tests.audit.signed import write_key

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
OPTIONS = [model._meta for model in apps.get_app_config("audit").get_models()]  # noqa: SLF001 - Django's name for it
COLUMNS = [
    (options.db_table, field.column)
    for options in OPTIONS
    for field in options.concrete_fields
    if options.model is AuditRun or field.column != "id"
]
STORED = {"sqlite": "CAST({0} AS BLOB), typeof({0})", "postgresql": "{0}, pg_typeof({0})::text"}
INSTEAD_OF_NOTHING = {"timestamp with time zone": NOON, "bytea": b"x", "blob": b"x"}
LARGEST_SHIFT = 40


@pytest.fixture
def audit(tmp_path: Path, settings: Settings) -> None:
    """Rows in every table, every column of them filled in one, and nobody to keep them."""
    settings.AUDIT_SIGNING_KEY_FILE = write_key(tmp_path / "key.pem")
    write_events(2)
    finished_run()
    fail_run(run=running_run("run-2"), error="It broke.", act=act(minute=2))
    record(chain=kill_chain("w1"), kind="gate.killed", act=act())
    assert sign_due(now=NOON) == 2
    assert verify()[0] == 0
    for name, table in trigger_sql.installed(connection).items():
        trigger_sql.drop(connection, name, table)


@pytest.mark.parametrize(("table", "column"), COLUMNS)
@hypothesis_settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.integers(0, 3), place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_changed_byte_of_any_column_is_found(
    audit: None, table: str, column: str, row: int, place: int, bit: int
) -> None:
    with transaction.atomic():
        changed = change(table, column, row=row, place=place, bit=bit)
        code = verify()[0] if changed else 1
        transaction.set_rollback(True)

    assert code == 1


def change(table: str, column: str, *, row: int, place: int, bit: int) -> bool:
    """Flip one bit of a value, as somebody with the file in hand; tell whether the database could hold it."""
    key = "chain" if table == "audit_audithead" else "id"
    stored = STORED[connection.vendor].format(column)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {key}, {stored} FROM {table} ORDER BY {key}")  # noqa: S608 - names are ours
        rows = cursor.fetchall()
        number, value, kind = rows[row % len(rows)]
        written = "CAST(%s AS TEXT)" if kind == "text" and connection.vendor == "sqlite" else "%s"
        try:
            with transaction.atomic():
                update = f"UPDATE {table} SET {column} = {written} WHERE {key} = %s"  # noqa: S608 - names are ours
                cursor.execute(update, [flip(value, kind, place, bit), number])
        except (DataError, IntegrityError):
            return False
    return True


def flip(value: Any, kind: str, place: int, bit: int) -> Any:
    """Return another value of the same kind: one bit changed where there is one, else something in place of nothing."""
    if kind in {"integer", "bigint"}:
        return int(value or 0) ^ 1 << bit
    if isinstance(value, datetime):
        return value + timedelta(microseconds=1 << place % LARGEST_SHIFT)
    if not value:
        return INSTEAD_OF_NOTHING.get(kind, "x")
    if isinstance(value, str):
        at = place % len(value)
        return value[:at] + chr(ord(value[at]) ^ 1 << bit) + value[at + 1 :]
    raw = bytearray(value)
    raw[place % len(raw)] ^= 1 << bit
    return bytes(raw)
