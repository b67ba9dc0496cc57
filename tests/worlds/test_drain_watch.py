from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User

from qmtl_worlds.contracts.states import RunState
from tests.worlds.steps import approve_now, go_on, states_of
from worlds.models import ApplyRun, World
from worlds.services import drain_watch
from worlds.services.drain_watch import FIRST_SEEN, watched_seconds
from worlds.stores.clock import database_now

DRAIN = datetime(2026, 3, 9, 14, tzinfo=UTC)


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [100.0]
    monkeypatch.setattr("worlds.services.drain_watch.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(drain_watch, "FIRST_SEEN", {})
    return clock


def test_watch_counts_from_the_first_look(monotonic: list[float]) -> None:
    first = watched_seconds(world_id="w1", run_id="run-1", drain_until=DRAIN)
    monotonic[0] += 3

    assert first == 0.0
    assert watched_seconds(world_id="w1", run_id="run-1", drain_until=DRAIN) == 3.0


def test_watch_of_a_drain_that_was_started_again_starts_again(monotonic: list[float]) -> None:
    watched_seconds(world_id="w1", run_id="run-1", drain_until=DRAIN)
    monotonic[0] += 3

    assert watched_seconds(world_id="w1", run_id="run-1", drain_until=DRAIN + timedelta(seconds=1)) == 0.0


def test_watch_that_forgets_only_delays(monotonic: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain_watch, "MOST_RUNS", 1)
    for run_id in ("run-1", "run-2", "run-3"):
        watched_seconds(world_id="w1", run_id=run_id, drain_until=DRAIN)
    monotonic[0] += 3

    assert watched_seconds(world_id="w1", run_id="run-1", drain_until=DRAIN) == 0.0


@pytest.mark.django_db
def test_clock_of_the_database_that_jumps_ends_no_drain(world: World, waiting: ApplyRun, bob: User) -> None:
    approve_now(world, waiting, bob)
    go_on(world, waiting.run_id)
    over = database_now() - timedelta(hours=1)
    ApplyRun.objects.filter(pk=waiting.pk).update(drain_until=over)

    go_on(world, waiting.run_id)
    jumped = states_of(waiting)[0]
    FIRST_SEEN[world.id, waiting.run_id] = (over, -math.inf)
    go_on(world, waiting.run_id)

    assert jumped == RunState.DRAINING
    assert states_of(waiting)[0] == RunState.DONE
