from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.worlds.factories import add_strategy, make_world, person, put_policy
from worlds.models import World

SignIn = Callable[[User], Client]


@pytest.fixture
def alice() -> User:
    """Operates, and writes policies."""
    return person("alice", "operator", "author")


@pytest.fixture
def bob() -> User:
    """Approves, and reads the audit of every world."""
    return person("bob", "approver", "auditor")


@pytest.fixture
def charlie() -> User:
    """Holds no role."""
    return person("charlie")


@pytest.fixture
def dora() -> User:
    """Manages worlds, roles and tokens."""
    return person("dora", "admin")


@pytest.fixture
def world(alice: User, bob: User) -> World:
    """A paper world under a policy, with two strategies that pass its gates and one that does not."""
    world = make_world()
    put_policy(world, author=alice, approver=bob)
    add_strategy(world, "good", quality=3)
    add_strategy(world, "better", quality=6)
    add_strategy(world, "bad", quality=-3)
    return world


@pytest.fixture
def sign_in() -> SignIn:
    """Sign a person in, as if the password had just been entered."""

    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return sign_in
