from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
import redis
from django.db import OperationalError

from qmtl_worlds import __version__
from qmtl_worlds.contracts.errors import StoreUnavailableError
from tests.api.callers import nobody
from worlds import tasks
from worlds.services import heartbeats
from worlds.services.heartbeats import TICK, beat
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db


def away(error: Exception) -> Callable[[], datetime]:
    def fail() -> datetime:
        raise error

    return fail


def test_everything_is_well_while_tick_and_worker_beat(redis_client: redis.Redis) -> None:
    beat(process=TICK, now=database_now())
    tasks.tell_that_the_worker_lives()

    reply = nobody().get("/health")

    assert (reply.status, reply.json()["status"], reply.json()["version"]) == (200, "ok", __version__)
    assert set(reply.json()["parts"]) == {"database", "redis", "tick", "worker"}


def test_process_that_stopped_beating_is_told(redis_client: redis.Redis) -> None:
    beat(process=TICK, now=database_now() - timedelta(minutes=1))

    parts = nobody().get("/health").json()["parts"]

    assert (parts["tick"]["ok"], parts["tick"]["detail"]) == (False, "has not been seen for a while")
    assert (parts["worker"]["ok"], parts["worker"]["detail"]) == (False, "was never seen")


def test_database_that_is_away_is_told_and_only_liveness_stays(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "database_now", away(OperationalError("no route to db.internal")))

    for path in ("/health", "/readyz"):
        reply = nobody().get(path)
        assert (reply.status, reply.json()["parts"]["database"]["ok"]) == (503, False)
        assert b"db.internal" not in reply.content
    assert nobody().get("/livez").status == 200


def test_redis_that_is_away_is_told_and_the_server_stays_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "worker_beat_at", away(StoreUnavailableError("Redis")))

    reply = nobody().get("/health")

    assert (reply.status, reply.json()["parts"]["redis"]["ok"]) == (503, False)
    assert nobody().get("/readyz").status == 200
