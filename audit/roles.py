"""Who may do what in PostgreSQL: an owner that migrates, the server that only works with rows, and readers.

The server's role has no DDL, and on what is kept as written no more than INSERT and SELECT. So it can neither switch a
trigger off nor change a row of the audit, whatever its code does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from audit import triggers

_PREFIX: Final = re.compile(r"[a-z][a-z0-9_]{0,40}")
_ATTRIBUTES: Final = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
_READ: Final = "SELECT"
_APPEND: Final = "SELECT, INSERT"
_FINISH: Final = "SELECT, INSERT, UPDATE"
_WORK: Final = "SELECT, INSERT, UPDATE, DELETE"
_MIGRATIONS: Final = "django_migrations"
_WITHHELD: Final = frozenset({"auth_user", "django_session", "worlds_apitoken"})
"""What readers do not see: sessions can be taken over, hashes be guessed at."""
_SEQUENCES: Final = (
    "SELECT s.relname FROM pg_class s JOIN pg_depend d ON d.objid = s.oid AND d.deptype IN ('a', 'i') "
    "JOIN pg_class t ON t.oid = d.refobjid WHERE s.relkind = 'S' AND t.relname = ANY(%s) AND pg_table_is_visible(t.oid)"
)
_OWNERS: Final = (
    "SELECT 'TABLE', relname, relowner::regrole::text FROM pg_class "
    "WHERE relname = ANY(%s) AND pg_table_is_visible(oid) "
    "UNION ALL SELECT 'FUNCTION', proname || '()', proowner::regrole::text FROM pg_proc "
    "WHERE proname LIKE 'qw\\_%%' AND pg_function_is_visible(oid)"
)


@dataclass(frozen=True, slots=True)
class Roles:
    """The names of the three roles."""

    owner: str
    app: str
    readonly: str

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter((self.owner, self.app, self.readonly))


def role_names() -> Roles:
    """Return the names of the roles, by the prefix of the settings.

    Raises:
        ValueError: the prefix is no lower-case name.
    """
    prefix = settings.DATABASE_ROLE_PREFIX
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"{prefix!r} cannot begin the names of roles.")
    return Roles(f"{prefix}_owner", f"{prefix}_app", f"{prefix}_readonly")


def statements(connection: BaseDatabaseWrapper) -> tuple[str, ...]:
    """Return what brings roles, ownership and privileges to where they should be; for the owner, privileges alone.

    Running them again changes nothing. No password is among them.
    """
    roles = role_names()
    ((user,),) = _fetch(connection, "SELECT current_user")
    first = () if user == roles.owner else _first_steps(connection, roles)
    return (*first, *_privileges(connection, roles))


def execute(connection: BaseDatabaseWrapper, wanted: Sequence[str]) -> None:
    """Run statements in one transaction."""
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        for statement in wanted:
            cursor.execute(statement)


def refresh(connection: BaseDatabaseWrapper) -> None:
    """Give the roles what they need of tables that a migration made; nothing in a database that has no such roles."""
    if connection.vendor != "postgresql" or not may_grant(connection):
        return
    roles = role_names()
    if _owner_of_events(connection) == roles.owner:
        execute(connection, list(_privileges(connection, roles)))


def may_grant(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether the present user owns the audit's table, or is a superuser."""
    owner = _owner_of_events(connection)
    return owner is not None and bool(_fetch(connection, "SELECT pg_has_role(%s, 'USAGE')", owner)[0][0])


def _owner_of_events(connection: BaseDatabaseWrapper) -> str | None:
    found = _fetch(connection, "SELECT tableowner FROM pg_tables WHERE tablename = 'audit_auditevent'")
    return found[0][0] if found else None


def _first_steps(connection: BaseDatabaseWrapper, roles: Roles) -> Iterator[str]:
    """Yield what only a superuser, or whoever made the database, can do."""
    quote = connection.ops.quote_name
    ((database, schema),) = _fetch(connection, "SELECT current_database(), current_schema()")
    missing = _missing(connection, roles)
    for role in roles:
        yield f"{'CREATE' if role in missing else 'ALTER'} ROLE {quote(role)} {_ATTRIBUTES}"
        for name, value in _limits(read_only=role == roles.readonly):
            yield f"ALTER ROLE {quote(role)} SET {name} = '{value}'"
    everyone = ", ".join(quote(role) for role in roles)
    yield f"REVOKE CREATE, TEMPORARY ON DATABASE {quote(database)} FROM PUBLIC"
    yield f"GRANT CONNECT ON DATABASE {quote(database)} TO {everyone}"
    yield f"REVOKE CREATE ON SCHEMA {quote(schema)} FROM PUBLIC, {quote(roles.app)}, {quote(roles.readonly)}"
    yield f"GRANT USAGE ON SCHEMA {quote(schema)} TO {everyone}"
    yield f"GRANT CREATE ON SCHEMA {quote(schema)} TO {quote(roles.owner)}"
    for kind, name, owner in _fetch(connection, _OWNERS, _tables(connection)):
        if owner != roles.owner:
            what = quote(name) if kind == "TABLE" else name
            yield f"ALTER {kind} {what} OWNER TO {quote(roles.owner)}"


def _limits(*, read_only: bool) -> Iterator[tuple[str, str]]:
    yield "statement_timeout", f"{settings.STATEMENT_TIMEOUT_MS}ms"
    yield "lock_timeout", f"{settings.LOCK_TIMEOUT_MS}ms"
    yield "idle_in_transaction_session_timeout", f"{settings.IDLE_IN_TRANSACTION_TIMEOUT_MS}ms"
    if read_only:
        yield "default_transaction_read_only", "on"


def _privileges(connection: BaseDatabaseWrapper, roles: Roles) -> Iterator[str]:
    quote = connection.ops.quote_name
    tables = _tables(connection)
    rights = {table: _rights(table) for table in tables}
    yield f"REVOKE ALL ON TABLE {_listed(quote, tables)} FROM {quote(roles.app)}, {quote(roles.readonly)}"
    for right in sorted(set(rights.values())):
        those = [table for table in tables if rights[table] == right]
        yield f"GRANT {right} ON TABLE {_listed(quote, those)} TO {quote(roles.app)}"
    shown = [table for table in tables if table not in _WITHHELD]
    yield f"GRANT SELECT ON TABLE {_listed(quote, shown)} TO {quote(roles.readonly)}"
    if sequences := sorted(name for (name,) in _fetch(connection, _SEQUENCES, tables)):
        yield f"GRANT USAGE ON SEQUENCE {_listed(quote, sequences)} TO {quote(roles.app)}"


def _rights(table: str) -> str:
    """Say what the server may do with a table: rows that are kept as written it appends, others it works with."""
    if table == _MIGRATIONS:
        return _READ
    rule = triggers.rule_for(table)
    if isinstance(rule, triggers.AppendOnly):
        return _APPEND
    return _FINISH if isinstance(rule, triggers.Immutable) else _WORK


def _tables(connection: BaseDatabaseWrapper) -> list[str]:
    ours = connection.introspection.django_table_names(only_existing=True, include_views=False)
    return sorted({*ours, _MIGRATIONS})


def _missing(connection: BaseDatabaseWrapper, roles: Roles) -> set[str]:
    there = {name for (name,) in _fetch(connection, "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", [*roles])}
    return {*roles} - there


def _listed(quote: Callable[[str], str], names: Sequence[str]) -> str:
    return ", ".join(quote(name) for name in names)


def _fetch(connection: BaseDatabaseWrapper, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
