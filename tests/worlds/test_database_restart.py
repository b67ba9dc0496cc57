"""What a restart of PostgreSQL leaves behind."""

from __future__ import annotations

import pytest
from django.db import connection
from psycopg import Connection

from qmtl_worlds.own_connection import own_connection
from worlds.models import World

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


def end_session(process_id: int) -> None:
    """End a session as a stop of the server does, and wait until it has ended."""
    other = own_connection()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [process_id])
        assert cursor.fetchone() == (True,)
    other.close()


def test_a_connection_that_died_in_the_pool_is_not_handed_out() -> None:
    connection.ensure_connection()
    kept = connection.connection
    assert isinstance(kept, Connection)
    connection.close()  # gives it back to the pool
    end_session(kept.info.backend_pid)

    assert World.objects.count() == 0
    assert connection.connection is not kept
