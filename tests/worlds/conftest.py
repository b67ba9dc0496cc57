from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from tests.worlds.factories import add_strategy, make_world, person, put_policy
from tests.worlds.steps import first_apply, wait_with_increase
from worlds.models import ApplyRun, World


@pytest.fixture
def alice() -> User:
    """Operates."""
    return person("alice", "operator", "author")


@pytest.fixture
def bob() -> User:
    """Approves."""
    return person("bob", "approver")


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
def waiting(world: World, alice: User, bob: User) -> ApplyRun:
    """Generation 1 trades; a run that lets ``best`` in for ``good`` waits for approval."""
    return wait_with_increase(world, alice, bob)


@pytest.fixture
def applied(world: World, alice: User, bob: User) -> World:
    """``good`` and ``better`` trade, 0.3 each."""
    first_apply(world, alice, bob)
    return world
