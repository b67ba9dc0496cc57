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

from audit.models import AuditRun
from qmtl_worlds.contracts.ids import InstanceKey, Side
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


def evaluated(world: World, at: datetime, run_id: str) -> tuple[AuditRun, dict[str, Any]]:
    step_clock(world_id=world.id, to=at, act=shell())
    request_evaluation(world_id=world.id, request=EvaluationRequest(run_id), act=shell())
    run = evaluate_world(world_id=world.id, run_id=run_id, act=shell())
    assert run.state == "ok", run.error
    return run, json.loads(run.decision_bytes())


def test_hourly_world_promotes_on_the_second_day_of_evidence_and_opens_its_gates(
    hourly_world: World, alice: User, bob: User
) -> None:
    _, first = evaluated(hourly_world, MIDNIGHT, "e1")
    _, again = evaluated(hourly_world, MIDNIGHT + timedelta(hours=1), "e2")
    _, later = evaluated(hourly_world, MIDNIGHT + timedelta(hours=23, minutes=3), "e3")
    run, second = evaluated(hourly_world, MIDNIGHT + timedelta(days=1, minutes=3), "e4")
    approve_now(hourly_world, start(hourly_world, alice, "run-1", "e4"), bob)
    done = finish(hourly_world, "run-1")

    print(first, second)
    assert first["topk"] and first["promote"] == again["promote"] == later["promote"] == []
    assert set(second["promote"]) == set(first["topk"]) >= {"l1|long", "s1|short"}
    assert "l4|long" not in second["topk"]
    assert done.state == "done"
    answer = activation_of(world_id=hourly_world.id, key=InstanceKey("l1", Side.LONG))
    assert answer.envelope.active, answer
    assert answer.envelope.weight == pytest.approx(0.12)
