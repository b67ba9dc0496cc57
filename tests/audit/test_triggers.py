from __future__ import annotations

from collections.abc import Iterator
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, models, transaction
from django.db.models import F

from audit import trigger_sql, triggers
from audit.checks import check_triggers
from audit.models import AuditChunk, AuditEvent, AuditHead, AuditHighlight, AuditRun
from tests.audit.factories import finished_run, running_run, write_events

pytestmark = pytest.mark.django_db


def refused(sql: str, *parameters: int) -> str:
    """Run ``sql``, which must fail, and return what the database says."""
    with pytest.raises(IntegrityError) as error, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, parameters)
    return str(error.value)


def drop_one(table: str) -> None:
    name = next(name for name, owner in trigger_sql.installed(connection).items() if owner == table)
    trigger_sql.drop(connection, name, table)


@pytest.fixture
def scratch_table() -> Iterator[str]:
    """A table with one row that rules can be tried on."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE scratch (id integer PRIMARY KEY, text varchar(9), state varchar(9))")
        cursor.execute("INSERT INTO scratch VALUES (1, 'a', 'draft')")
    yield "scratch"
    triggers.forget("scratch")


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit_auditevent SET actor = 'mallory'",
        "UPDATE audit_auditchunk SET last_key = 'z'",
        "UPDATE audit_audithighlight SET kind = 'topk'",
        "UPDATE audit_auditrun SET error = ''",
        "DELETE FROM audit_auditevent",
        "DELETE FROM audit_auditchunk",
        "DELETE FROM audit_audithighlight",
        "DELETE FROM audit_audithead",
    ],
)
def test_written_row_cannot_be_changed_by_sql(sql: str) -> None:
    finished_run()

    answer = refused(sql)

    assert "its rows are kept as written" in answer


@pytest.mark.parametrize("model", [AuditEvent, AuditChunk, AuditHighlight, AuditRun])
def test_written_row_cannot_be_changed_by_the_orm(model: type[AuditEvent]) -> None:
    finished_run()
    row = model.objects.all()[0]

    with pytest.raises(IntegrityError, match="refuses UPDATE"), transaction.atomic():
        row.save()
    with pytest.raises(IntegrityError), transaction.atomic():
        row.delete()


def test_running_evaluation_may_still_be_written() -> None:
    run = running_run()

    run.save()

    assert "audit_auditrun refuses DELETE" in refused("DELETE FROM audit_auditrun")


def test_head_only_goes_forward_by_one() -> None:
    write_events(2)

    for change in (
        {"seq": F("seq") - 1},
        {"seq": F("seq") + 2},
        {"hash": "other"},
        {"chain": "w2", "seq": F("seq") + 1},
    ):
        with pytest.raises(IntegrityError, match="refuses UPDATE"), transaction.atomic():
            AuditHead.objects.update(**change)
    assert "refuses DELETE" in refused("DELETE FROM audit_audithead")


@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite's own statement")
def test_insert_or_replace_is_refused() -> None:
    event = write_events(2)[0]

    answer = refused("INSERT OR REPLACE INTO audit_auditevent SELECT * FROM audit_auditevent WHERE id = %s", event.pk)

    assert "audit_auditevent refuses DELETE" in answer


def test_insert_that_turns_into_an_update_is_refused() -> None:
    write_events(1)

    answer = refused("INSERT INTO audit_audithead VALUES ('w1', 9, 'x') ON CONFLICT (chain) DO UPDATE SET seq = 9")

    assert "audit_audithead refuses UPDATE" in answer


@pytest.mark.postgres
def test_truncate_is_refused() -> None:
    write_events(1)

    assert "audit_auditevent refuses TRUNCATE" in refused("TRUNCATE audit_auditevent")


def test_immutable_when_lets_other_updates_pass(scratch_table: str) -> None:
    triggers.protect(triggers.Immutable(scratch_table, when="OLD.state <> 'draft'"))
    triggers.install(connection)

    with connection.cursor() as cursor:
        cursor.execute("UPDATE scratch SET text = 'b', state = 'final'")
    assert "scratch refuses UPDATE" in refused("UPDATE scratch SET text = 'c'")


def test_immutable_columns_lets_other_columns_change(scratch_table: str) -> None:
    triggers.protect(triggers.Immutable(scratch_table, columns=("text",)))
    triggers.install(connection)

    with connection.cursor() as cursor:
        cursor.execute("UPDATE scratch SET text = 'a', state = 'final'")
    assert "scratch refuses UPDATE" in refused("UPDATE scratch SET text = 'c'")
    assert "scratch refuses UPDATE" in refused("UPDATE scratch SET text = NULL")


def test_install_replaces_an_outdated_rule(scratch_table: str) -> None:
    triggers.protect(triggers.AppendOnly(scratch_table))
    triggers.install(connection)

    triggers.protect(triggers.Immutable(scratch_table, when="OLD.state <> 'draft'"))
    changed = triggers.install(connection)

    assert changed == ("scratch: UPDATE",)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE scratch SET text = 'b'")
    assert triggers.missing(connection) == ()


def test_install_again_changes_nothing() -> None:
    assert triggers.install(connection) == ()


def test_rule_for_a_table_that_is_not_there_waits() -> None:
    triggers.protect(triggers.AppendOnly("nowhere"))

    assert triggers.install(connection) == ()

    triggers.forget("nowhere")


def test_check_names_what_is_unprotected_and_migrate_mends_it() -> None:
    drop_one("audit_auditevent")

    (warning,) = check_triggers(databases=["default"])
    call_command("migrate", stdout=StringIO(), verbosity=0)

    assert warning.id == "audit.W001"
    assert "audit_auditevent" in str(warning.msg)
    assert check_triggers(databases=["default"]) == []


@pytest.mark.postgres
def test_check_sees_a_trigger_that_is_switched_off() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER USER")

    missing = triggers.missing(connection)
    triggers.install(connection)

    assert missing == tuple(f"audit_auditevent: {operation}" for operation in ("UPDATE", "DELETE", "TRUNCATE"))
    assert triggers.missing(connection) == ()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="a setting of SQLite")
def test_check_warns_where_insert_or_replace_would_pass() -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA recursive_triggers=OFF")

    found = check_triggers(databases=["default"])

    with connection.cursor() as cursor:
        cursor.execute("PRAGMA recursive_triggers=ON")
    assert [message.id for message in found] == ["audit.W002"]


def test_check_without_a_database_asks_none() -> None:
    assert check_triggers(databases=None) == []


@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite rebuilds tables")
@pytest.mark.django_db(transaction=True)
def test_triggers_are_back_after_a_migration_rebuilt_the_table() -> None:
    note = models.TextField(default="")
    note.set_attributes_from_name("note")
    with connection.schema_editor() as editor:
        editor.add_field(AuditEvent, note)
    gone = triggers.missing(connection)

    call_command("migrate", stdout=StringIO(), verbosity=0)

    assert "audit_auditevent: UPDATE" in gone
    assert triggers.missing(connection) == ()
