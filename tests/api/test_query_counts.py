"""How many SQL statements a request costs: a number that grows is a decision, not an accident."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from qmtl_worlds.celery import app
from tests.api.callers import Caller, machine
from tests.worlds.factories import LAST_CLOSE, add_strategy, make_world, put_policy
from tests.worlds.steps import evaluate, first_apply
from worlds.models import World

pytestmark = pytest.mark.django_db(transaction=True)

AS_OF = LAST_CLOSE.isoformat()


def count(send: Callable[[], object]) -> int:
    with CaptureQueriesContext(connection) as queries:
        send()
    return len(queries)


def apply_counts(world: World, gateway: Caller, approver: Caller) -> tuple[int, int]:
    """The statements of the request for an apply, and of its approval."""
    evaluate(world, "r1")
    gateway.get(f"/worlds/{world.id}")  # the token's use is noted once a minute
    path = f"/worlds/{world.id}/apply"
    asked = count(lambda: gateway.post(path, {"run_id": "a1", "evaluation_run_id": "r1"}))
    plan = {"plan_hash": gateway.get(f"{path}/a1").json()["plan_hash"]}
    approved = count(lambda: approver.post(f"{path}/a1/approve", plan))
    assert gateway.get(f"{path}/a1").json()["phase"] == "requested"
    return asked, approved


@pytest.fixture
def applied(world: World, alice: User, bob: User) -> World:
    first_apply(world, alice, bob)
    return world


def test_activation_costs_the_same_however_many_strategies_there_are(applied: World, runner: Caller) -> None:
    runner.get("/worlds/w1/activation?strategy_id=good")  # the token's use is noted once a minute

    few = count(lambda: runner.get("/worlds/w1/activation?strategy_id=good"))
    for number in range(5):
        add_strategy(applied, f"more-{number}", quality=1)
    many = count(lambda: runner.get("/worlds/w1/activation?strategy_id=good"))
    whole = count(lambda: runner.get("/worlds/w1/activation"))

    assert (few, many, whole) == (8, 8, 10)


@pytest.mark.usefixtures("run_worker_inline")
def test_evaluation_costs_the_same_however_many_strategies_there_are(world: World, gateway: Caller) -> None:
    gateway.get("/worlds/w1")

    dry = count(lambda: gateway.post("/worlds/w1/evaluate", {"as_of": AS_OF, "run_id": "r0"}))
    few = count(lambda: gateway.post("/worlds/w1/evaluate", {"as_of": AS_OF, "run_id": "r1", "record": True}))
    for number in range(5):
        add_strategy(world, f"more-{number}", quality=1)
    many = count(lambda: gateway.post("/worlds/w1/evaluate", {"as_of": AS_OF, "run_id": "r2", "record": True}))

    assert (dry, few, many) == {"sqlite": (16, 47, 47), "postgresql": (12, 43, 43)}[connection.vendor]


def test_apply_costs_the_same_however_many_strategies_there_are(
    world: World, alice: User, bob: User, gateway: Caller, approver: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "send_task", lambda *_, **__: None)  # what workers do is not part of the request
    larger = make_world("w2")
    put_policy(larger, author=alice, approver=bob)
    for number in range(8):
        add_strategy(larger, f"s{number}", quality=number)

    few, many = (apply_counts(one, gateway, approver) for one in (world, larger))

    assert few == many == (19, 32)


def test_pushing_returns_costs_the_same_however_many_bars(world: World) -> None:
    submitter = machine("submitter")
    submitter.get("/worlds/w1")
    path = "/worlds/w1/strategies/good/returns"

    def body(days: int) -> dict[str, object]:
        return {
            "ts": [f"2026-0{1 + day // 28}-{1 + day % 28:02d}T00:00:00Z" for day in range(days)],
            "ret": [0.01] * days,
        }

    small = count(lambda: submitter.post(path, body(10)))
    large = count(lambda: submitter.post(path, {**body(150), "ret": [0.01] * 150}))

    assert (small, large) == (18, 23)
