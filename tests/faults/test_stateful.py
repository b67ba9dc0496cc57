"""One oracle, three stores: whatever happens in whatever order, memory, SQLite and PostgreSQL come to the same."""

from __future__ import annotations

import os

import pytest
import redis

from tests.faults.extended import EXTENDED, longer_when_extended
from tests.faults.stateful_clock import Clock
from tests.faults.stateful_ground import Ground
from tests.faults.stateful_play import play
from tests.faults.stateful_stage import Record, Stage

pytestmark = [pytest.mark.django_db, longer_when_extended, pytest.mark.slow, pytest.mark.timeout(3600)]
STEPS = int(os.environ.get("QW_TEST_STATEFUL_STEPS", "5000" if EXTENDED else "1000"))
FIRST_SEED = int(os.environ.get("QW_TEST_STATEFUL_SEED", "0"))
MET = {"requested", "queued", "draining", "done", "cancelled"}
DONE = {
    *("grant ok", "grant SelfApprovalError", "override ok", "reset ok"),
    *("acknowledge ok", "suspend ok", "take_up ok"),
}


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
    assert set(stored.outcomes) >= DONE
