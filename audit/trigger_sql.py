"""How SQLite and PostgreSQL are told to refuse a change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from django.db.backends.base.base import BaseDatabaseWrapper

PREFIX: Final = "qw_keep_"
"""How the names of our triggers begin; nobody else's may."""

_DISTINCT: Final = {"sqlite": "IS NOT", "postgresql": "IS DISTINCT FROM"}
_INSTALLED: Final = {
    "sqlite": "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, %s) = %s",
    "postgresql": (
        "SELECT t.tgname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
        "WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND pg_table_is_visible(c.oid) "
        "AND substr(t.tgname, 1, %s) = %s"
    ),
}
_POSTGRESQL_FUNCTION: Final = """
CREATE OR REPLACE FUNCTION qw_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% refuses %: its rows are kept as written', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'integrity_constraint_violation';
END $$
"""


@dataclass(frozen=True, slots=True)
class Trigger:
    """One operation that one table refuses; ``str()`` is ``table: OPERATION``."""

    name: str
    table: str
    operation: str
    statement: str

    def __str__(self) -> str:
        """Return ``table: OPERATION``."""
        return f"{self.table}: {self.operation}"


def operations(connection: BaseDatabaseWrapper, table: str, *, when: str, columns: Sequence[str]) -> Iterator[Trigger]:
    """Yield what keeps a table's rows: no DELETE, no TRUNCATE, no UPDATE that ``when`` and ``columns`` name."""
    distinct = _DISTINCT[connection.vendor]
    changed = " OR ".join(f"OLD.{column} {distinct} NEW.{column}" for column in columns)
    yield _trigger(connection, table, "UPDATE", " AND ".join(f"({part})" for part in (when, changed) if part))
    yield _trigger(connection, table, "DELETE", "")
    if connection.vendor == "postgresql":
        yield _trigger(connection, table, "TRUNCATE", "")


def guards(connection: BaseDatabaseWrapper, table: str, *, delete: str, update: str) -> Iterator[Trigger]:
    """Yield what refuses a DELETE or an UPDATE of a row where a condition holds, which may ask other tables."""
    for operation, condition in (("DELETE", delete), ("UPDATE", update)):
        if connection.vendor == "postgresql":
            yield _guard(connection, table, operation, condition)
        else:
            yield _trigger(connection, table, operation, condition)
    if connection.vendor == "postgresql":
        yield _trigger(connection, table, "TRUNCATE", "")


def installed(connection: BaseDatabaseWrapper) -> Mapping[str, str]:
    """Return the table of each of our triggers that is there and switched on, by the trigger's name."""
    with connection.cursor() as cursor:
        cursor.execute(_INSTALLED[connection.vendor], [len(PREFIX), PREFIX])
        return dict(cursor.fetchall())


def create(connection: BaseDatabaseWrapper, triggers: Iterable[Trigger]) -> None:
    """Create triggers; one of the same name that is switched off is replaced."""
    with connection.cursor() as cursor:
        for trigger in triggers:
            if connection.vendor == "postgresql":
                cursor.execute(_POSTGRESQL_FUNCTION)
            drop(connection, trigger.name, trigger.table)
            cursor.execute(trigger.statement)


def drop(connection: BaseDatabaseWrapper, name: str, table: str) -> None:
    """Drop one trigger if it is there."""
    quote = connection.ops.quote_name
    where = f" ON {quote(table)}" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TRIGGER IF EXISTS {quote(name)}{where}")


def _trigger(connection: BaseDatabaseWrapper, table: str, operation: str, condition: str) -> Trigger:
    body = _BODIES[connection.vendor](connection.ops.quote_name(table), operation, condition)
    name = f"{PREFIX}{operation.lower()}_{hashlib.sha256(f'{table} {body}'.encode()).hexdigest()[:16]}"
    return Trigger(name, table, operation, f"CREATE TRIGGER {connection.ops.quote_name(name)} {body}")


def _guard(connection: BaseDatabaseWrapper, table: str, operation: str, condition: str) -> Trigger:
    """PostgreSQL lets no trigger's WHEN ask other tables: the condition is in a function of its own."""
    quote = connection.ops.quote_name
    mark = hashlib.sha256(f"{table} {operation} {condition}".encode()).hexdigest()[:16]
    name, function = f"{PREFIX}{operation.lower()}_{mark}", f"qw_guard_{mark}"
    statement = (
        f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF {condition} THEN "
        "RAISE EXCEPTION '% refuses %: its rows are kept as written', TG_TABLE_NAME, TG_OP "
        "USING ERRCODE = 'integrity_constraint_violation'; END IF; "
        f"RETURN {'OLD' if operation == 'DELETE' else 'NEW'}; END $$; "
        f"CREATE TRIGGER {quote(name)} BEFORE {operation} ON {quote(table)} "
        f"FOR EACH ROW EXECUTE FUNCTION {function}()"
    )
    return Trigger(name, table, operation, statement)


def _sqlite_body(table: str, operation: str, condition: str) -> str:
    when = f" WHEN {condition}" if condition else ""
    message = f"{table.strip(chr(34))} refuses {operation}: its rows are kept as written"
    return f"BEFORE {operation} ON {table} FOR EACH ROW{when} BEGIN SELECT RAISE(ABORT, '{message}'); END"


def _postgresql_body(table: str, operation: str, condition: str) -> str:
    each = "STATEMENT" if operation == "TRUNCATE" else "ROW"
    when = f" WHEN ({condition})" if condition else ""
    return f"BEFORE {operation} ON {table} FOR EACH {each}{when} EXECUTE FUNCTION qw_keep()"


_BODIES: Final = {"sqlite": _sqlite_body, "postgresql": _postgresql_body}
