from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from django.conf import settings
from django.test import TransactionTestCase
from pytest_django.plugin import DjangoDbBlocker
from redis.backoff import NoBackoff
from redis.retry import Retry

from qmtl_worlds.embedded import valkey
from tests import database


def pytest_configure() -> None:
    """Let a user be made in microseconds: the real hasher is slow on purpose."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Use a file, so that threads and processes of a test share the database."""
    if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        settings.DATABASES["default"]["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Keep the migrated database as a template, and let transactional tests end by copying it back."""
    with pytest.MonkeyPatch.context() as patch, django_db_blocker.unblock():
        database.keep_as_template()
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda _case: database.restore_from_template())
        with django_db_blocker.block():
            yield
        database.drop_template()


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[str]:
    """The URL of a real server, on the socket that settings name."""
    with valkey.serve(Path(settings.DATA_DIR) / "valkey") as url:
        yield url


@pytest.fixture
def redis_client(valkey_server: str) -> Iterator[redis.Redis]:
    """A client of the projection's database on an empty server."""
    client = redis.Redis.from_url(settings.REDIS_URL, retry=Retry(NoBackoff(), 0), socket_timeout=5)
    client.flushall()
    yield client
    client.close()
