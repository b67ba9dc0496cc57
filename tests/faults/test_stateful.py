"""One oracle, three stores: whatever happens in whatever order, memory, SQLite and PostgreSQL come to the same."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import get_state_machine_test

from tests.faults.extended import EXTENDED
from tests.faults.stateful_clock import Clock, ruled_by
from tests.faults.stateful_ground import Ground, make_ground
from tests.faults.stateful_machine import machine_on
from tests.faults.stateful_stage import Record, Stage

pytestmark = [pytest.mark.django_db, pytest.mark.slow, pytest.mark.timeout(3600)]
HISTORY = 50
HISTORIES = 12
STEPS = int(os.environ.get("QW_TEST_STATEFUL_STEPS", "5000" if EXTENDED else "500"))
MET = {"requested", "queued", "draining", "done", "cancelled"}
FIRST_SEED = int(os.environ.get("QW_TEST_STATEFUL_SEED", "0"))


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    with ruled_by(clock):
        yield clock


@pytest.fixture
def ground(clock: Clock) -> Ground:
    return make_ground()


def play(stage: Stage, seed: int) -> None:
    """Play some histories that the seed decides."""
    test = get_state_machine_test(
        machine_on(stage),
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=HISTORY,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )
    hypothesis.seed(seed)(test)()


def test_acts_in_any_order_come_to_what_the_oracle_says(
    ground: Ground, clock: Clock, redis_client: redis.Redis
) -> None:
    stored, expected = Record(), Record()

    seed = FIRST_SEED
    while stored.steps < STEPS:
        play(Stage(ground, clock, stored, redis_client), seed)
        play(Stage(ground, clock, expected), seed)
        seed += 1

    assert stored.steps >= STEPS
    assert (expected.steps, expected.digest) == (stored.steps, stored.digest)
    assert set(stored.states) >= MET
