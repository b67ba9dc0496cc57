"""The sample policy of the specification on hourly bars around the clock, from rows to gates."""

from __future__ import annotations

import json
import math
from array import array
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.contrib.auth.models import User

from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.states import RunState
from strategies.models import Provenance
from strategies.series import SeriesRows
from strategies.services.append import SeriesTarget
from strategies.services.bind import Binding
from tests.worlds.factories import make_world, put_policy, shell
from tests.worlds.steps import approve_now, finish, start
from worlds.models import World
from worlds.services.activation import activation_of
from worlds.services.binding import bind, ingest
from worlds.services.evaluations import EvaluationRequest, request_evaluation
from worlds.services.replay import step_clock
from worlds.work.evaluate import evaluate_world
from worlds.work.measure import measure

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

HOUR = 3_600
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 70
MIDNIGHT = FIRST + timedelta(days=DAYS)
LONGS = {"l1": 6.0, "l2": 5.0, "l3": 4.0, "l4": -9.0}
SHORTS = {"s1": 5.0, "s2": 4.0}


def hourly(quality: float, phase: float, hours: int) -> list[float]:
    return [2e-5 * quality + 1e-3 * math.sin(phase * hour + quality) for hour in range(1, hours + 1)]


def push_hours(world: World, name: str, side: Side, values: list[float], *, provenance: Provenance) -> None:
    closes = array("q", [int(FIRST.timestamp()) + HOUR * hour for hour in range(1, len(values) + 1)])
    trades = array("d", [float(hour % 12 == 0) for hour in range(len(values))])
    rows = SeriesRows(closes, array("d", values), leverage=array("d", [2.0] * len(values)), trades=trades)
    target = SeriesTarget(world.id, name, provenance, side)
    ingest(target=target, rows=rows, revise=False, act=shell())


@pytest.fixture
def hourly_world(alice: User, bob: User) -> World:
    world = make_world("crypto_mom_1h", mode="replay")
    text = (Path(settings.BASE_DIR) / "config" / "worlds" / "crypto_mom_1h.yml").read_text(encoding="utf-8")
    put_policy(world, author=alice, approver=bob, text=text.replace("{", "{{").replace("}", "}}"))
    for side, names in ((Side.LONG, LONGS), (Side.SHORT, SHORTS)):
        for place, (name, quality) in enumerate(names.items()):
            binding = Binding(name, side, sector=f"sector-{place}", interval_seconds=HOUR)
            bind(world_id=world.id, bindings=[binding], act=shell())
            values = hourly(quality, 0.7 + 0.13 * place + 0.4 * (side is Side.SHORT), (DAYS + 3) * 24)
            push_hours(world, name, side, values, provenance=Provenance.PAPER)
    return world


def evaluated(world: World, at: datetime, run_id: str) -> dict[str, Any]:
    step_clock(world_id=world.id, to=at, act=shell())
    request_evaluation(world_id=world.id, request=EvaluationRequest(run_id), act=shell())
    run = evaluate_world(world_id=world.id, run_id=run_id, act=shell())
    decided: dict[str, Any] = json.loads(run.decision_bytes())
    return decided


def by_hand(values: list[float], days: int) -> dict[str, float]:
    """The figures of the first ``days`` whole days, from nothing but the definitions."""
    growth = np.array(values[: days * 24]).reshape(days, 24) + 1.0
    daily = growth.prod(axis=1) - 1.0
    wealth = np.cumprod(1.0 + daily)
    falls = 1.0 - wealth / np.maximum.accumulate(np.maximum(wealth, 1.0))
    return {
        "sharpe_mid": daily.mean() / daily.std(ddof=1) * math.sqrt(365),
        "winrate_long": (daily > 0).sum() / (daily != 0).sum(),
        "ulcer_mid": math.sqrt((falls**2).mean()),
        "max_dd_120d": falls.max(),
        "trades_60d": 2.0 * 60,
        "sample_days": float(days),
        "leverage": 2.0,
    }


def test_hourly_world_promotes_on_the_second_day_of_evidence_and_opens_its_gates(
    hourly_world: World, alice: User, bob: User
) -> None:
    first = evaluated(hourly_world, MIDNIGHT, "e1")
    again = evaluated(hourly_world, MIDNIGHT + timedelta(hours=1), "e2")
    late = evaluated(hourly_world, MIDNIGHT + timedelta(hours=23, minutes=3), "e3")
    second = evaluated(hourly_world, MIDNIGHT + timedelta(days=1, minutes=3), "e4")
    approve_now(hourly_world, start(hourly_world, alice, "run-1", "e4"), bob)
    done = finish(hourly_world, "run-1")

    assert first["topk"]
    assert first["promote"] == again["promote"] == late["promote"] == []
    assert set(second["promote"]) == set(first["topk"])
    assert second["counts"]["failed"] == 1
    assert done.state == RunState.DONE
    answer = activation_of(world_id=hourly_world.id, key=InstanceKey("l1", Side.LONG)).envelope
    assert (answer.gate.value, answer.reason) == ("reduce_only", "awaiting_flat")


def test_hourly_bars_become_days_and_their_metrics_equal_those_by_hand(hourly_world: World) -> None:
    step_clock(world_id=hourly_world.id, to=MIDNIGHT + timedelta(hours=7), act=shell())
    at = MIDNIGHT + timedelta(hours=7)

    told = measure(world_id=hourly_world.id, key=InstanceKey("l2", Side.LONG), as_of=at, now=at)["metrics"]

    for name, value in by_hand(hourly(5.0, 0.83, DAYS * 24), DAYS).items():
        assert told[name]["value"] == pytest.approx(value, rel=1e-9), name
    assert told["data_lag_seconds"]["value"] == 0.0


def test_backtests_change_no_metric_and_make_nothing_fresh_where_the_policy_does_not_count_them(
    hourly_world: World,
) -> None:
    bind(world_id=hourly_world.id, bindings=[Binding("dream", interval_seconds=HOUR)], act=shell())
    for name in ("l1", "dream"):
        push_hours(hourly_world, name, Side.LONG, [0.01] * DAYS * 24, provenance=Provenance.BACKTEST)
    at = MIDNIGHT
    step_clock(world_id=hourly_world.id, to=at, act=shell())

    told = {
        name: measure(world_id=hourly_world.id, key=InstanceKey(name, Side.LONG), as_of=at, now=at)["metrics"]
        for name in ("l1", "dream")
    }
    decided = evaluated(hourly_world, at + timedelta(minutes=1), "e1")

    expected = by_hand(hourly(6.0, 0.7, DAYS * 24), DAYS)["sharpe_mid"]
    assert told["l1"]["sharpe_mid"]["value"] == pytest.approx(expected, rel=1e-9)
    assert told["dream"]["sample_days"]["n_obs"] == 0
    assert decided["counts"]["fresh"] == len(LONGS) + len(SHORTS)
    assert "dream|long" not in decided["ranks"]


def test_hourly_data_is_stale_an_hour_and_five_minutes_after_the_last_bar(hourly_world: World) -> None:
    end = FIRST + timedelta(days=DAYS + 3)

    last = evaluated(hourly_world, end + timedelta(hours=1, minutes=5), "e1")
    stale = evaluated(hourly_world, end + timedelta(hours=1, minutes=5, seconds=1), "e2")

    assert last["counts"]["fresh"] == len(LONGS) + len(SHORTS)
    assert (stale["counts"]["fresh"], stale["effective_mode"]) == (0, "compute-only")
    assert activation_of(world_id=hourly_world.id, key=InstanceKey("l1", Side.LONG)).envelope.gate == "closed"
