from __future__ import annotations

import threading

import pytest
import redis
from django.contrib.auth.models import Group
from django.db import connection

from audit.models import AuditEvent


@pytest.mark.parametrize("turn", ["first", "second"])
@pytest.mark.django_db(transaction=True)
def test_transactional_test_starts_from_the_migrated_database(turn: str) -> None:
    found = Group.objects.count()
    Group.objects.create(name="operators")

    assert found == 0
    assert AuditEvent.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_thread_sees_what_was_committed() -> None:
    Group.objects.create(name="operators")
    seen: list[int] = []

    def look() -> None:
        seen.append(Group.objects.count())
        connection.close()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()

    assert seen == [1]


def test_database_is_the_one_that_the_run_names(db: None, pytestconfig: pytest.Config) -> None:
    plugin = pytestconfig.pluginmanager.get_plugin("tests.servers")

    assert plugin is not None
    assert connection.vendor == {"sqlite": "sqlite", "postgres": "postgresql"}[plugin.DATABASE]


def test_connection_keeps_the_promises_of_the_settings(db: None) -> None:
    pragmas: dict[str, object] = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "recursive_triggers": 1}
    timeouts: dict[str, object] = {"statement_timeout": "5s", "lock_timeout": "1s"}
    wanted, ask = (pragmas, "PRAGMA {}") if connection.vendor == "sqlite" else (timeouts, "SHOW {}")

    with connection.cursor() as cursor:
        found = {}
        for name in wanted:
            cursor.execute(ask.format(name))
            found[name] = cursor.fetchone()[0]

    assert found == wanted


def test_redis_client_starts_on_an_empty_server(redis_client: redis.Redis) -> None:
    redis_client.set("world", "1")

    assert redis_client.dbsize() == 1
