"""The figures that the design fixes by hand, asked for over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User

from qmtl_worlds.lifecycle.calendar import Calendar
from tests.api.callers import Caller
from tests.worlds.factories import LAST_CLOSE, make_world, put_policy, shell
from tests.worlds.steps import finish
from worlds.models import World
from worlds.services.replay import step_clock

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("run_worker_inline")]

POLICY = """\
world: {world}
version: {version}
data_currency: {{max_lag: 3d}}
metrics: {{provenance: [backtest], min_obs: 2, calendar: CALENDAR}}
selection:
  gates: "reported.score > 0"
  score: "reported.score"
  topk: {{total: 2}}
  solver: SOLVER
  hysteresis: {{promote_after: PROMOTE, demote_after: 2, min_dwell: DWELL}}
  constraints:
    correlation: {{max_pairwise: 0.5}}
    exposure: {{gross_budget: {{long: 1.0}}}}
"""
VECTOR = [0.01, -0.02, 0.015, 0, -0.005, 0.03, -0.01, 0.02, -0.015, 0.005]
GOLDEN = {
    "sharpe": 2.9726021658411734,
    "volatility": 0.25432262974418934,
    "sortino": 5.499090833947007,
    "max_dd": 0.02,
    "cagr": 1.0667535195630684,
    "ulcer": 0.009940977956167139,
    "winrate": 5 / 9,
    "var_95": 0.01775,
    "cvar_95": 0.02,
    "skew": 0.1691875787039406,
    "kurt": 1.978354978354978,
    "psr": 0.7151093098726444,
}


def policy(*, calendar: str = "24/7", solver: str = "greedy", promote: int = 1, dwell: str = "0d") -> str:
    words = {"CALENDAR": f'"{calendar}"', "SOLVER": solver, "PROMOTE": str(promote), "DWELL": dwell}
    text = POLICY
    for name, word in words.items():
        text = text.replace(name, word)
    return text


def replay(alice: User, bob: User, text: str, *, at: datetime) -> World:
    world = make_world(mode="replay")
    put_policy(world, author=alice, approver=bob, text=text)
    step_clock(world_id=world.id, to=at, act=shell())
    return world


def push(gateway: Caller, strategy_id: str, closes: list[datetime], returns: list[float]) -> None:
    body = {"ts": [close.isoformat() for close in closes], "ret": returns}
    reply = gateway.post(f"/worlds/w1/strategies/{strategy_id}/returns", body)
    assert reply.status == 200, reply.content


def report(gateway: Caller, strategy_id: str, as_of: datetime, score: float) -> None:
    told = {"as_of": as_of.isoformat(), "metrics": {"score": score}}
    assert gateway.post(f"/worlds/w1/strategies/{strategy_id}/metrics", told).status == 200


@pytest.mark.parametrize(("calendar", "expected"), [("XNYS", GOLDEN), ("24/7", {"sharpe": 3.5775272603715114})])
def test_golden_vector(gateway: Caller, alice: User, bob: User, calendar: str, expected: dict[str, float]) -> None:
    sessions = Calendar.load(calendar)
    last = max(close for close in sessions.closes if close <= LAST_CLOSE.timestamp())
    place = list(sessions.closes).index(last)
    closes = [datetime.fromtimestamp(close, UTC) for close in sessions.closes[place - 9 : place + 1]]
    replay(alice, bob, policy(calendar=calendar), at=closes[-1])
    gateway.post("/worlds/w1/bindings", {"strategies": ["v"]})
    push(gateway, "v", closes, VECTOR)

    metrics = gateway.get("/worlds/w1/strategies/v/metrics").json()["metrics"]

    for name, value in expected.items():
        told = metrics[f"{name}_short"]
        assert (told["status"], told["n_obs"]) == ("ok", 10), name
        assert told["value"] == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize(
    ("solver", "chosen", "value"), [("greedy", ["a|long"], 10.0), ("exact", ["b|long", "c|long"], 18.0)]
)
def test_counter_example_to_greed(
    gateway: Caller, alice: User, bob: User, solver: str, chosen: list[str], value: float
) -> None:
    replay(alice, bob, policy(solver=solver), at=LAST_CLOSE)
    gateway.post("/worlds/w1/bindings", {"strategies": ["a", "b", "c"]})
    for name, score in (("a", 10), ("b", 9), ("c", 9)):
        push(gateway, name, [LAST_CLOSE], [0.01])
        report(gateway, name, LAST_CLOSE, score)

    decision = gateway.post("/worlds/w1/evaluate", {"correlations": {"a|b": 0.9, "a|c": 0.9, "b|c": 0.0}}).json()

    assert decision["topk"] == chosen
    assert decision["certificate"]["value"] == value
    assert decision["certificate"]["upper_bound"] == pytest.approx(18.0)
    assert decision["certificate"]["solver"].startswith(solver)


@pytest.mark.slow
def test_hysteresis_trace(gateway: Caller, approver: Caller, alice: User, bob: User) -> None:
    in_target = [1, 1, 0, 1, 0, 0, 0, 1, 1, 1]
    replay(alice, bob, policy(promote=2, dwell="3d"), at=LAST_CLOSE)
    gateway.post("/worlds/w1/bindings", {"strategies": ["s"]})

    active = [live_a_day(gateway, approver, day, wanted) for day, wanted in enumerate(in_target, start=1)]

    assert active == [False, True, True, True, True, False, False, False, True, True]


def live_a_day(gateway: Caller, approver: Caller, day: int, wanted: int) -> bool:
    """Bring the day's bar, evaluate, and carry out what follows; tell whether the strategy is then active."""
    now = LAST_CLOSE + timedelta(days=day)
    step_clock(world_id="w1", to=now, act=shell())
    push(gateway, "s", [now], [0.01])
    report(gateway, "s", now, 1.0 if wanted else -1.0)
    for run_id in (f"once-{day}", f"again-{day}"):  # the second is of the same evidence, and must not count
        reply = gateway.post("/worlds/w1/evaluate", {"run_id": run_id, "record": True})
        assert reply.json()["verdict"] == "ok", reply.content
    if gateway.get("/worlds/w1/decide").json()["has_plan"]:
        carry_out(gateway, approver, f"apply-{day}")
    return bool(gateway.get("/worlds/w1/activation?strategy_id=s").json()["active"])


def carry_out(gateway: Caller, approver: Caller, run_id: str) -> None:
    asked = gateway.post("/worlds/w1/apply", {"run_id": run_id}).json()
    if asked["phase"] == "awaiting_approval":
        approver.post(f"/worlds/w1/apply/{run_id}/approve", {"plan_hash": asked["plan_hash"]})
    finish(World.objects.get(), run_id)
