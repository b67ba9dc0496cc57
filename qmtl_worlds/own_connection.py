"""Connections that come from no pool: for threads that may wait neither for others nor for a pool's pauses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from qmtl_worlds.databases import POOL_SECONDS


def own_connection(*, writer_wait_ms: int | None = None) -> BaseDatabaseWrapper:
    """Return a new connection to the default database that comes from no pool and is kept while it works."""
    given = connections.settings[DEFAULT_DB_ALIAS]
    options = {name: value for name, value in given["OPTIONS"].items() if name != "pool"}
    if "pool" in given["OPTIONS"]:
        options.setdefault("connect_timeout", POOL_SECONDS)
    if writer_wait_ms is not None and "init_command" in options:
        options["init_command"] += f" PRAGMA busy_timeout={writer_wait_ms};"
    settings = {**given, "OPTIONS": options, "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
    connection: BaseDatabaseWrapper = load_backend(given["ENGINE"]).DatabaseWrapper(settings, DEFAULT_DB_ALIAS)
    return connection


@contextmanager
def no_pool() -> Iterator[None]:
    """Give the calling thread a connection of its own in place of the pool's, for as long as this lasts.

    A pool pauses for a second and more after it could not connect; with this, whoever needs the database connects when
    it asks. Where there is no pool nothing changes.
    """
    pooled = connections[DEFAULT_DB_ALIAS]
    if "pool" not in pooled.settings_dict["OPTIONS"]:
        yield
        return
    own = connections[DEFAULT_DB_ALIAS] = own_connection()
    pooled.close()
    try:
        yield
    finally:
        own.close()
        connections[DEFAULT_DB_ALIAS] = pooled
