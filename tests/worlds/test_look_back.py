"""Data is as fresh as what an evaluation reads: bars that came later keep nothing fresh."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User

from tests.worlds.factories import LAST_CLOSE, POLICY, add_day, make_world, put_policy
from tests.worlds.factories import add_strategy as add
from tests.worlds.steps import evaluate
from worlds.models import World
from worlds.stores.clock import database_now
from worlds.work.preview import preview_world

pytestmark = pytest.mark.django_db


def day_of_now() -> int:
    """Return how many days after the factories' last close the last UTC midnight was."""
    return (database_now() - LAST_CLOSE).days


@pytest.fixture
def lively(alice: User, bob: User) -> World:
    """A world whose data may be two days old, with one strategy that is up to date."""
    world = make_world()
    put_policy(world, author=alice, approver=bob, text=POLICY.replace("3650d", "2d"))
    add(world, "good", quality=3)
    for day in range(day_of_now() - 19, day_of_now() + 1):
        add_day(world, day, {"good": 0.003 if day % 2 else 0.001})
    return world


def counts_of(decision: dict[str, Any]) -> tuple[int, int]:
    return decision["counts"]["fresh"], len(decision["topk"])


def test_evaluation_of_the_last_close_finds_its_data_fresh(lively: World) -> None:
    run = evaluate(lively, day=day_of_now())

    assert counts_of(json.loads(run.decision_bytes())) == (1, 1)


def test_evaluation_of_past_data_is_stale_by_now_and_promotes_nobody(lively: World) -> None:
    run = evaluate(lively, day=day_of_now() - 10)

    decision = json.loads(run.decision_bytes())
    assert counts_of(decision) == (0, 0)
    assert (decision["effective_mode"], decision["reason"]) == ("compute-only", "nothing_fresh")


def test_what_if_of_the_past_is_judged_by_what_was_fresh_then(lively: World) -> None:
    then = LAST_CLOSE + timedelta(days=day_of_now() - 10)

    told = preview_world(world_id=lively.id, as_of=then, now=database_now(), question={})

    assert counts_of(told) == (1, 1)


@pytest.mark.parametrize(("max_lag", "fresh"), [("1s", 0), ("30d", 1)])
def test_what_if_of_another_policy_goes_by_its_own_lag(lively: World, max_lag: str, fresh: int) -> None:
    now = LAST_CLOSE + timedelta(days=day_of_now(), hours=30)
    policy = {
        "world": lively.id,
        "version": 2,
        "data_currency": {"max_lag": max_lag},
        "metrics": {"provenance": ["backtest"], "min_obs": 5},
        "selection": {
            "gates": "sharpe_30d >= 0.5",
            "score": "sharpe_30d",
            "topk": {"total": 1},
            "constraints": {"exposure": {"gross_budget": {"long": 0.6}}},
        },
    }

    told = preview_world(world_id=lively.id, as_of=now, now=now, question={"policy": policy})

    assert told["counts"]["fresh"] == fresh
