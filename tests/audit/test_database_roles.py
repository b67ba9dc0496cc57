from __future__ import annotations

import re
from collections.abc import Iterator
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, ProgrammingError, connection, transaction
from pytest_django import Settings

from audit import triggers
from audit.checkpoints import sign_due
from audit.roles import role_names, statements
from audit.trigger_sql import installed
from tests import roles
from tests.audit.commands import verify
from tests.audit.factories import NOON, finished_run, write_events
from worlds.checks import check_database_role

OWNER, APP, READONLY = "qmtl_worlds_owner", "qmtl_worlds_app", "qmtl_worlds_readonly"


REFUSED_TO_SERVER = (
    "UPDATE audit_auditevent SET actor = 'mallory'",
    "DELETE FROM audit_auditevent",
    "TRUNCATE audit_auditevent",
    "ALTER TABLE audit_auditevent DISABLE TRIGGER USER",
    "ALTER TABLE audit_auditevent DISABLE TRIGGER ALL",
    "DROP TABLE audit_auditevent",
    "CREATE TRIGGER mine BEFORE INSERT ON audit_auditevent FOR EACH ROW EXECUTE FUNCTION qw_keep()",
    "CREATE OR REPLACE FUNCTION qw_keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
    "SET session_replication_role = replica",
    "CREATE TABLE mine (id integer)",
    "CREATE TEMPORARY TABLE mine (id integer)",
    "UPDATE audit_checkpoint SET seq = 1",
    "DELETE FROM audit_checkpoint",
    "DELETE FROM audit_audithead",
    "DELETE FROM audit_auditrun",
    "UPDATE audit_auditchunk SET last_key = 'z'",
    "UPDATE worlds_policyversion SET version = 9",
    "DELETE FROM worlds_activationset",
    "DELETE FROM worlds_applyrun",
    "UPDATE worlds_approval SET round = 2",
    "DELETE FROM django_migrations",
    f"SET ROLE {OWNER}",
    "CREATE ROLE mine",
)


@pytest.fixture
def made(transactional_db: None) -> Iterator[None]:
    with roles.made():
        yield


@pytest.fixture
def as_app(made: None) -> Iterator[None]:
    write_rows()
    with roles.logged_in(APP):
        yield


@pytest.fixture
def as_reader(made: None) -> Iterator[None]:
    write_rows()
    with roles.logged_in(READONLY):
        yield


@transaction.atomic
def write_rows() -> None:
    write_events(2)
    finished_run()


def refusal(sql: str) -> str:
    """Run ``sql``, which must fail for want of a right, and return what the database says."""
    with pytest.raises(ProgrammingError) as error, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)
    return str(error.value)


def printed(*options: str) -> str:
    output = StringIO()
    call_command("database_roles", *options, stdout=output)
    return output.getvalue()


def fetched(sql: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


@pytest.mark.postgres
def test_server_can_neither_change_what_is_kept_nor_any_table(as_app: None) -> None:
    (trigger, *_) = (name for name, table in installed(connection).items() if table == "audit_auditevent")
    attempts = [*REFUSED_TO_SERVER, f"DROP TRIGGER {trigger} ON audit_auditevent"]

    answers = {sql: refusal(sql) for sql in attempts}

    assert {
        sql: answer for sql, answer in answers.items() if not re.search("permission denied|must be owner", answer)
    } == {}


@pytest.mark.postgres
def test_server_records_signs_and_verifies(as_app: None) -> None:
    write_rows_again = transaction.atomic(write_events)

    write_rows_again(3)
    signed = sign_due(now=NOON)

    assert signed == 1
    assert verify()[0] == 0


@pytest.mark.postgres
def test_server_starts_on_a_migrated_database(as_app: None) -> None:
    call_command("migrate", verbosity=0)

    assert triggers.missing(connection) == ()


@pytest.mark.postgres
def test_server_cannot_run_the_command(as_app: None) -> None:
    with pytest.raises(CommandError, match="as the owner"):
        printed("--apply")


@pytest.mark.postgres
def test_reader_reads_the_audit_and_nothing_that_opens_doors(as_reader: None) -> None:
    assert fetched("SELECT count(*) FROM audit_auditevent") == [(3,)]
    for sql in ("SELECT * FROM auth_user", "TABLE django_session", "TABLE worlds_apitoken"):
        assert "permission denied" in refusal(sql)
    with pytest.raises(DatabaseError, match="read-only transaction"), transaction.atomic():
        write_events(1)


@pytest.mark.postgres
def test_roles_bring_their_own_timeouts(made: None) -> None:
    rows = fetched("SELECT rolname, rolconfig FROM pg_roles WHERE rolname LIKE 'qmtl_worlds\\_%'")
    found = {str(name): limits for name, limits in rows}

    assert set(found) == {OWNER, APP, READONLY}
    for name, limits in found.items():
        assert isinstance(limits, list)
        assert {"statement_timeout=5000ms", "lock_timeout=1000ms"} <= set(limits), name
        assert any(limit.startswith("idle_in_transaction_session_timeout=") for limit in limits)


@pytest.mark.postgres
def test_apply_again_changes_nothing(made: None) -> None:
    question = "SELECT relname, relowner::regrole::text, relacl::text FROM pg_class WHERE relkind IN ('r', 'S')"
    before = fetched(f"{question} ORDER BY 1, 2")

    answer = printed("--apply")

    assert fetched(f"{question} ORDER BY 1, 2") == before
    assert "Brought up to date" in answer


@pytest.mark.postgres
def test_owner_migrates_and_renews_privileges_without_being_a_superuser(made: None) -> None:
    with roles.logged_in(OWNER):
        with connection.cursor() as cursor:
            cursor.execute("REVOKE ALL ON worlds_world FROM qmtl_worlds_app")
        call_command("migrate", verbosity=0)
        owners_part = statements(connection)

    assert fetched("SELECT has_table_privilege('qmtl_worlds_app', 'worlds_world', 'DELETE')") == [(True,)]
    assert all(statement.startswith(("GRANT", "REVOKE")) for statement in owners_part)


@pytest.mark.postgres
@pytest.mark.django_db
def test_print_shows_statements_and_changes_nothing() -> None:
    text = printed("--print")

    assert f'CREATE ROLE "{APP}" LOGIN NOSUPERUSER' in text
    assert 'GRANT SELECT, INSERT ON TABLE "audit_auditchunk", "audit_auditevent"' in text
    assert "PASSWORD" not in text
    assert fetched("SELECT 1 FROM pg_roles WHERE rolname = 'qmtl_worlds_app'") == []


@pytest.mark.postgres
def test_check_warns_where_the_server_could_change_the_audit(made: None) -> None:
    as_superuser = check_database_role(databases=["default"])
    with roles.logged_in(OWNER):
        as_owner = check_database_role(databases=["default"])
    with roles.logged_in(APP):
        as_server = check_database_role(databases=["default"])

    assert [message.id for message in (*as_superuser, *as_owner)] == ["worlds.W001", "worlds.W001"]
    assert as_server == []


@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite has no roles")
@pytest.mark.django_db
def test_sqlite_has_no_roles() -> None:
    with pytest.raises(CommandError, match="Only PostgreSQL"):
        printed("--print")
    assert check_database_role(databases=["default"]) == []


def test_prefix_of_the_roles_is_a_plain_name(settings: Settings) -> None:
    settings.DATABASE_ROLE_PREFIX = 'x"; DROP'

    with pytest.raises(ValueError, match="cannot begin"):
        role_names()
