"""Work on the test database as one of the roles that ``manage.py database_roles`` makes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management import call_command
from django.db import connection, connections
from django.db.backends.postgresql.base import DatabaseWrapper

from audit.roles import role_names


@contextmanager
def made() -> Iterator[None]:
    """Make the roles in the test database, and take them away again; needs a transactional test."""
    call_command("database_roles", "--apply", verbosity=0)
    try:
        yield
    finally:
        names = ", ".join(role_names())
        with connection.cursor() as cursor:
            cursor.execute(f"REASSIGN OWNED BY {names} TO CURRENT_USER")
            cursor.execute(f"DROP OWNED BY {names}")
            cursor.execute(f"DROP ROLE {names}")


@contextmanager
def logged_in(role: str) -> Iterator[None]:
    """Connect to the test database as ``role``, with a password of its own."""
    password = secrets.token_hex(16)
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER ROLE {role} PASSWORD '{password}'")
    before = {name: connection.settings_dict[name] for name in ("USER", "PASSWORD")}
    _connect_as({"USER": role, "PASSWORD": password})
    try:
        yield
    finally:
        _connect_as(before)


def _connect_as(account: dict[str, str]) -> None:
    wrapper = connections["default"]
    assert isinstance(wrapper, DatabaseWrapper)
    wrapper.close()
    wrapper.close_pool()
    wrapper.settings_dict.update(account)
