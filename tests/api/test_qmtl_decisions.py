"""Evaluations, apply and activation as QMTL's clients ask for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models import F

from audit.models import AuditEvent, AuditRun
from tests.api.callers import Caller, machine
from tests.worlds.factories import add_strategy, make_world
from tests.worlds.steps import finish
from worlds.models import ApplyRun, World
from worlds.services.run_rows import timings_of
from worlds.stores.clock import database_now

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("run_worker_inline")]

METRICS = {
    "s1": {"returns": {"sharpe": 2.0, "max_drawdown": 0.1}},
    "s2": {"sharpe": 1.0},
    "s3": {"sharpe": 0.2, "note": "weak"},
}
POLICY = {"policy": {"thresholds": {"sharpe": {"min": 0.5}}, "top_k": {"metric": "sharpe", "k": 2}}}


@pytest.fixture
def client_of_qmtl() -> Caller:
    """A client with a world, a policy, and three strategies whose data is of now."""
    caller = machine("qmtl")
    caller.post("/worlds", {"id": "w1", "name": "One"})
    caller.post("/worlds/w1/policies", POLICY)
    caller.post("/worlds/w1/bindings", {"strategies": list(METRICS)})
    end = int(database_now().timestamp())
    for name in METRICS:
        told = {"strategy_id": name, "coverage_bounds": [end - 86_400, end]}
        assert caller.post("/worlds/w1/history", told).status == 204
    World.objects.update(created_at=F("created_at") - timedelta(hours=1))  # older than any permission could be
    return caller


@pytest.fixture
def apply(client_of_qmtl: Caller) -> Callable[..., ApplyRun]:
    """Send an apply request, and let time pass until it has ended."""

    def carry_out(run_id: str, **body: object) -> ApplyRun:
        told = client_of_qmtl.post("/worlds/w1/apply", {"run_id": run_id, **body}, x_allow_live="true")
        assert (told.status, told.json()["ok"], told.json()["run_id"]) == (200, True, run_id), told.content
        return finish(World.objects.get(), run_id)

    return carry_out


def activation(caller: Caller, name: str, side: str = "long") -> dict[str, object]:
    told = caller.get(f"/worlds/w1/activation?strategy_id={name}&side={side}")
    assert told.status == 200
    body: dict[str, object] = told.json()
    return body


def test_evaluation_with_metrics_is_recorded_and_speaks_of_strategies(client_of_qmtl: Caller) -> None:
    told = client_of_qmtl.post("/worlds/w1/evaluate", {"metrics": METRICS, "stage": "paper", "series": {}})

    body = told.json()
    assert told.status == 200
    assert (body["ok"], body["active"], body["topk"]) == (True, ["s1", "s2"], ["s1", "s2"])
    assert body["plan"]["activate"] == ["s1", "s2"]
    assert body["weights"] == {"s1": 0.5, "s2": 0.5}
    assert body["ranks"] == {"s1": 1, "s2": 2}
    assert set(body["contributions"]) <= set(METRICS)
    assert AuditRun.objects.get().run_id == body["evaluation_run_id"]


def test_evaluation_without_metrics_reads_what_is_stored_and_records_nothing(client_of_qmtl: Caller) -> None:
    client_of_qmtl.post("/worlds/w1/evaluate", {"metrics": METRICS})

    told = client_of_qmtl.post("/worlds/w1/evaluate", {})

    assert told.json()["topk"] == ["s1", "s2"]
    assert told.json()["plan"]["activate"] == ["s1", "s2"]
    assert AuditRun.objects.count() == 1


def test_retried_evaluation_is_the_same_run(client_of_qmtl: Caller) -> None:
    body = {"metrics": METRICS, "run_id": "e1"}

    answers = [client_of_qmtl.post("/worlds/w1/evaluate", body).json() for _ in range(2)]

    assert answers[0] == answers[1]
    assert AuditRun.objects.count() == 1


@pytest.mark.parametrize("path", ["evaluate", "apply"])
def test_policy_in_a_body_is_refused(client_of_qmtl: Caller, path: str) -> None:
    refused = client_of_qmtl.post(f"/worlds/w1/{path}", {"run_id": "r1", "metrics": METRICS, "policy": {}})

    assert (refused.status, refused.code) == (422, "input-invalid")
    assert not AuditRun.objects.exists()


def test_metrics_of_a_strategy_whose_data_is_old_select_nobody(client_of_qmtl: Caller) -> None:
    client_of_qmtl.post("/worlds/w1/bindings", {"strategies": ["late"]})

    told = client_of_qmtl.post("/worlds/w1/evaluate", {"metrics": {"late": {"sharpe": 9.0}}})

    assert told.json()["active"] == []


def test_run_is_read_as_their_command_line_shows_it(client_of_qmtl: Caller) -> None:
    run_id = client_of_qmtl.post("/worlds/w1/evaluate", {"metrics": METRICS, "strategy_id": "s1"}).json()[
        "evaluation_run_id"
    ]
    url = f"/worlds/w1/strategies/s1/runs/{run_id}"

    run = client_of_qmtl.get(url).json()

    assert (run["status"], run["summary"]["status"], run["summary"]["active"]) == ("evaluated", "pass", True)
    assert run["metrics"]["returns"]["sharpe"] == 2.0
    assert run["summary"]["active_set"] == ["s1", "s2"]
    assert run["validation"]["results"]
    assert client_of_qmtl.get(run["links"]["metrics"]).json() == run["metrics"]
    assert client_of_qmtl.get(run["links"]["history"]).json()[0]["payload"]["run_id"] == run_id
    assert [one["run_id"] for one in client_of_qmtl.get("/worlds/w1/strategies/s1/runs").json()] == [run_id]
    weak = client_of_qmtl.get(url.replace("s1", "s3")).json()
    assert (weak["summary"]["status"], weak["summary"]["active"]) == ("fail", False)


def test_metrics_are_evaluated_and_applied_in_one_call_without_approval(
    client_of_qmtl: Caller, apply: Callable[..., ApplyRun]
) -> None:
    run = apply("a1", metrics=METRICS)

    told = activation(client_of_qmtl, "s1")
    assert (run.state, told["active"], told["weight"]) == ("done", True, 0.5)
    assert told["effective_mode"] == "paper"
    assert "version" not in told
    again = client_of_qmtl.post("/worlds/w1/apply", {"run_id": "a1", "metrics": METRICS}).json()
    assert (again["phase"], again["active"]) == ("completed", ["s1", "s2"])


def test_plan_by_hand_may_name_whom_the_policy_did_not_choose(
    client_of_qmtl: Caller, apply: Callable[..., ApplyRun]
) -> None:
    apply("a1", metrics=METRICS)

    apply("a2", plan={"activate": ["s3"], "deactivate": ["s2"]})

    active = {name: activation(client_of_qmtl, name)["active"] for name in METRICS}
    assert active == {"s1": True, "s2": False, "s3": True}
    reasons = set(AuditEvent.objects.filter(run_id="a2", kind="apply.requested").values_list("reason", flat=True))
    assert reasons == {"QMTL client (X-Allow-Live: true)"}


def test_plan_by_hand_keeps_the_policys_budget(client_of_qmtl: Caller, apply: Callable[..., ApplyRun]) -> None:
    apply("a1", metrics=METRICS)

    refused = client_of_qmtl.post("/worlds/w1/apply", {"run_id": "a2", "plan": {"activate": ["s3"]}})

    assert (refused.status, refused.code) == (422, "input-invalid")


def test_plan_cannot_let_stale_data_trade(client_of_qmtl: Caller, apply: Callable[..., ApplyRun]) -> None:
    client_of_qmtl.post("/worlds/w1/bindings", {"strategies": ["late"]})

    run = apply("a1", plan={"activate": ["late"], "deactivate": []})

    assert (run.state, run.state_reason) == ("cancelled", "stale")
    assert activation(client_of_qmtl, "late")["active"] is False


def test_bare_put_brings_an_instance_in_and_takes_it_out(client_of_qmtl: Caller) -> None:
    body = {"strategy_id": "s1", "side": "long", "active": True, "effective_mode": "paper", "run_id": "r", "ts": "x"}

    answers = [put(client_of_qmtl, body) for _ in range(2)]

    (run,) = ApplyRun.objects.all()
    finish(World.objects.get(), run.run_id)
    assert answers == [200, 200]
    assert activation(client_of_qmtl, "s1")["weight"] == 0.5
    out = {**body, "active": False, "weight": 0.0, "freeze": True, "drain": True}
    assert put(client_of_qmtl, out) == 200
    assert activation(client_of_qmtl, "s1")["active"] is False
    put(client_of_qmtl, body)
    run_again = ApplyRun.objects.exclude(pk=run.pk).filter(kind="increase").first()
    assert run_again is None or run_again.state != "requested"


def test_put_of_a_lower_weight_caps_and_of_none_lifts(client_of_qmtl: Caller, apply: Callable[..., ApplyRun]) -> None:
    apply("a1", metrics=METRICS)

    put(client_of_qmtl, {"strategy_id": "s1", "active": True, "weight": 0.2})
    capped = activation(client_of_qmtl, "s1")["weight"]
    put(client_of_qmtl, {"strategy_id": "s1", "active": True})

    assert (capped, activation(client_of_qmtl, "s1")["weight"]) == (0.2, 0.5)


@pytest.mark.parametrize(
    "wrong",
    [{"side": "sideways"}, {"weight": 17.5}, {"effective_mode": "banana"}, {"weight": 0.0}, {"strategy_id": "nobody"}],
)
def test_put_that_cannot_be_meant_is_refused(client_of_qmtl: Caller, wrong: dict[str, object]) -> None:
    assert put(client_of_qmtl, {"strategy_id": "s1", "active": True, **wrong}) == 422


def test_bare_put_in_another_world_changes_nothing(client_of_qmtl: Caller) -> None:
    add_strategy(make_world("ours"), "good", quality=3)

    refused = put(client_of_qmtl, {"strategy_id": "good", "active": True}, world_id="ours")

    assert refused == 422
    assert not ApplyRun.objects.exists()


def test_closed_is_always_a_200_that_says_so(client_of_qmtl: Caller) -> None:
    unknown = activation(client_of_qmtl, "nobody", "short")

    assert (unknown["active"], unknown["weight"], unknown["reason"]) == (False, 0.0, "unknown")
    assert client_of_qmtl.get("/worlds/w1/activation?strategy_id=&side=").status == 200


def test_drain_waits_for_clients_that_know_no_lease(client_of_qmtl: Caller) -> None:
    world = World.objects.get()

    timings = timings_of(world, now=database_now())

    assert timings.lease_seconds == 15
    assert world.lease_ms == 5_000


def put(caller: Caller, body: dict[str, object], *, world_id: str = "w1") -> int:
    return caller.send("PUT", f"/worlds/{world_id}/activation", json.dumps(body).encode()).status
