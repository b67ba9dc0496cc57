"""Put the test database back as migrations left it.

Django empties every table after a transactional test; the audit's triggers rightly refuse that. So the freshly
migrated database is kept as a template and copied back.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import LiteralString

import psycopg
from django.db import connection, connections
from django.db.backends.postgresql.base import DatabaseWrapper as PostgresConnection
from psycopg import sql


def keep_as_template() -> None:
    """Copy the present database to its template."""
    connection.close()
    if connection.vendor == "sqlite":
        _copy_file(_name(), _template())
    else:
        _copy_database(_name(), _template())


def restore_from_template() -> None:
    """Replace the database's content by the template's."""
    connection.close()
    if connection.vendor == "sqlite":
        _copy_file(_template(), _name())
    else:
        _copy_database(_template(), _name())


def drop_template() -> None:
    """Remove the template."""
    _drop(_template())


@contextlib.contextmanager
def saved_copy() -> Iterator[Callable[[], None]]:
    """Back the database up; the yielded function restores that backup, as often as it is called."""
    backup = f"{_name()}_backup"
    copy = _copy_file if connection.vendor == "sqlite" else _copy_database

    def move(source: str, target: str) -> None:
        connection.close()
        copy(source, target)

    move(_name(), backup)
    try:
        yield lambda: move(backup, _name())
    finally:
        _drop(backup)


def _name() -> str:
    return str(connection.settings_dict["NAME"])


def _template() -> str:
    return f"{_name()}_template"


def _copy_file(source: str, target: str) -> None:
    with contextlib.closing(sqlite3.connect(source)) as old, contextlib.closing(sqlite3.connect(target)) as new:
        old.backup(new)


def _copy_database(source: str, target: str) -> None:
    """Copy on the server; the source must have no connection, pooled ones included."""
    with _maintenance() as server:
        server.execute(_statement("DROP DATABASE IF EXISTS {} WITH (FORCE)", target))
        server.execute(_statement("CREATE DATABASE {} TEMPLATE {}", target, source))


def _maintenance() -> psycopg.Connection:
    wrapper = connections["default"]
    assert isinstance(wrapper, PostgresConnection)
    wrapper.close_pool()
    parameters = wrapper.get_connection_params() | {"dbname": "postgres"}
    wanted = {key: parameters[key] for key in ("dbname", "user", "password", "host", "port") if parameters.get(key)}
    return psycopg.connect(**wanted, autocommit=True)


def _statement(text: LiteralString, *names: str) -> sql.Composed:
    return sql.SQL(text).format(*(sql.Identifier(name) for name in names))


def _drop(name: str) -> None:
    if connection.vendor == "sqlite":
        Path(name).unlink(missing_ok=True)
    else:
        with _maintenance() as server:
            server.execute(_statement("DROP DATABASE IF EXISTS {}", name))
