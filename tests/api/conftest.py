from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User

from qmtl_worlds.celery import app
from tests.api.callers import Caller, machine, session
from tests.worlds.factories import add_strategy, make_world, person, put_policy
from worlds import tasks
from worlds.models import World

TASKS = {task.name: task for task in (tasks.evaluate_task, tasks.preview_task, tasks.measure_task, tasks.advance_task)}


@pytest.fixture
def run_worker_inline(monkeypatch: pytest.MonkeyPatch, redis_client: redis.Redis) -> None:
    """Run each task when it is sent, in this process, on arguments that went through JSON as they do on the wire."""

    def send_task(name: str, *, kwargs: dict[str, Any], **_options: object) -> None:
        TASKS[name](**json.loads(json.dumps(kwargs)))

    monkeypatch.setattr(app, "send_task", send_task)


@pytest.fixture
def alice() -> User:
    """She operates and writes policies."""
    return person("alice", "operator", "author")


@pytest.fixture
def bob() -> User:
    """He approves."""
    return person("bob", "approver")


@pytest.fixture
def world(alice: User, bob: User) -> World:
    """A world with a policy and three strategies, one of them bad."""
    world = make_world()
    put_policy(world, author=alice, approver=bob)
    add_strategy(world, "good", quality=3)
    add_strategy(world, "better", quality=6)
    add_strategy(world, "bad", quality=-3)
    return world


@pytest.fixture
def gateway() -> Caller:
    return machine("gateway")


@pytest.fixture
def runner() -> Caller:
    return machine("runner")


@pytest.fixture
def approver(bob: User) -> Caller:
    return session(bob)
