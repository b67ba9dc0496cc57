from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.db import connection

from tests.sdk.served import served
from tests.worlds.conftest import alice, bob, world
from tests.worlds.factories import shell
from tests.worlds.steps import first_apply
from worlds.models import World
from worlds.services.tokens import create_token

__all__ = ["alice", "bob", "world"]


@pytest.fixture
def trading(world: World, alice: User, bob: User) -> World:
    """A world whose first set is applied; its lease is a second."""
    first_apply(world, alice, bob)
    return world


@pytest.fixture
def server(transactional_db: None, valkey_server: str) -> Iterator[str]:
    """The address of a real server on the test's database."""
    with served() as address:
        yield address
    connection.close()


@pytest.fixture
def token_of(transactional_db: None) -> Callable[[str], str]:
    """Make a token of a role."""
    return lambda role: create_token(role=role, name=role, act=shell()).text
