from __future__ import annotations

import threading
from typing import Any

import pytest
import redis

from audit.models import AuditRun
from qmtl_worlds.celery import app
from tests.api.callers import Caller, machine
from tests.worlds.factories import LAST_CLOSE, make_world, shell
from worlds.api import waiting
from worlds.models import StreakState, World
from worlds.services.replay import step_clock

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("run_worker_inline")]

AS_OF = LAST_CLOSE.isoformat()


def evaluate(caller: Caller, **body: object) -> Any:
    reply = caller.post("/worlds/w1/evaluate", {"as_of": AS_OF, **body})
    assert reply.status == 200, reply.content
    return reply.json()


def test_evaluation_is_a_dry_run_unless_it_is_to_be_recorded(world: World, gateway: Caller) -> None:
    told = evaluate(gateway, run_id="r1")

    assert told["topk"] == ["better|long", "good|long"]
    assert told["promote"] == ["better|long", "good|long"]
    assert told["weights"] == {"better|long": 0.3, "good|long": 0.3}
    assert told["plan"]["after"] == told["weights"]
    assert told["plan_hash"].startswith("sha256:")
    assert not AuditRun.objects.exists()
    assert StreakState.objects.get(world=world).revision == 0


def test_recorded_run_is_found_under_its_url_and_repeats_as_the_same(world: World, gateway: Caller) -> None:
    first = evaluate(gateway, run_id="r1", record=True)

    again = evaluate(gateway, run_id="r1", record=True)

    assert again == first
    assert AuditRun.objects.count() == 1
    run = gateway.get(first["evaluation_run_url"]).json()
    assert (run["state"], run["decision"]["topk"]) == ("ok", first["topk"])
    assert (run["inputs_digest"], run["instance_count"]) == (first["inputs_digest"], 3)


def test_dry_run_and_recorded_run_decide_alike(world: World, gateway: Caller) -> None:
    dry, recorded = evaluate(gateway), evaluate(gateway, run_id="r1", record=True)

    differ = {"evaluation_run_id", "evaluation_run_url", "certificate"}
    assert {name for name in dry if dry[name] != recorded[name]} <= differ


def test_run_id_of_other_data_is_a_conflict(world: World, gateway: Caller) -> None:
    evaluate(gateway, run_id="r1", record=True)

    clash = gateway.post("/worlds/w1/evaluate", {"run_id": "r1", "record": True, "as_of": "2026-03-01T00:00:00Z"})

    assert (clash.status, clash.code, clash.json()["holder_run_id"]) == (409, "run-id-reused", "r1")


def test_run_that_nobody_computes_in_time_is_a_202_with_its_url(
    world: World, gateway: Caller, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "send_task", lambda *_, **__: None)

    for record in (True, False):
        reply = gateway.post("/worlds/w1/evaluate", {"as_of": AS_OF, "run_id": "r:1", "record": record})

        assert reply.status == 202
        assert reply.headers["location"] == "/worlds/w1/runs/r%3A1"
        assert reply.json()["state"] == "running"
    assert gateway.get("/worlds/w1").json()["op_state"] == "evaluating"


def test_same_question_again_waits_for_the_first_answer(
    world: World, gateway: Caller, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(app, "send_task", lambda name, **_: sent.append(name))
    question = {"as_of": AS_OF, "run_id": "r1"}

    for _ in range(3):
        gateway.post("/worlds/w1/evaluate", question)

    assert sent == ["worlds.preview"]


def test_policy_in_the_body_is_tried_and_not_stored(world: World, gateway: Caller) -> None:
    policy = gateway.get("/worlds/w1/policies/1").json()["policy"]
    policy["selection"]["topk"] = {"total": 1, "by_side": {"long": 1}}
    policy["selection"]["constraints"] = {"exposure": {"gross_budget": {"long": 0.5}}}

    assert evaluate(gateway, policy=policy)["weights"] == {"better|long": 0.5}
    assert gateway.get("/worlds/w1/policies").json()["in_force"] == 1


def test_faulty_policy_in_the_body_is_refused_with_its_faults(world: World, gateway: Caller) -> None:
    reply = gateway.post("/worlds/w1/evaluate", {"policy": {"world": "w1"}})

    assert (reply.status, reply.code) == (422, "policy-invalid")
    assert {fault["path"] for fault in reply.json()["faults"]} >= {"version", "selection"}


def test_metrics_in_the_body_replace_computed_ones(world: World, gateway: Caller) -> None:
    told = evaluate(gateway, metrics={"bad": {"sharpe_30d": 9}, "good|long": {"sharpe_30d": 8}})

    assert told["topk"] == ["bad|long", "good|long"]


@pytest.mark.parametrize("metrics", [{"nobody": {"sharpe_30d": 9}}, {"bad": {"sharp": 9}}])
def test_metrics_of_nobody_and_of_no_name_are_refused(world: World, gateway: Caller, metrics: object) -> None:
    reply = gateway.post("/worlds/w1/evaluate", {"as_of": AS_OF, "metrics": metrics})

    assert (reply.status, reply.code) == (422, "input-invalid")
    assert reply.json()["field"].startswith("metrics.")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"as_of": "2999-01-01T00:00:00Z"}, "as_of"),
        ({"as_of": "0001-01-01T00:00:00Z"}, "as_of"),
        ({"as_of": "2026-01-01"}, "as_of"),
        ({"record": True, "metrics": {}}, "metrics"),
        ({"record": True, "policy": {}}, "policy"),
        ({"series": {}}, "series"),
        ({"run_id": "a b"}, "run_id"),
        ({"correlations": [{"a": "good", "b": "better", "rho": 2}]}, "correlations[0].rho"),
        ({"correlations": {"good|better": "x"}}, "rho"),
    ],
)
def test_question_that_cannot_be_answered_names_its_field(
    world: World, gateway: Caller, body: dict[str, object], field: str
) -> None:
    reply = gateway.post("/worlds/w1/evaluate", body)

    assert (reply.status, reply.json()["field"]) == (422, field)


def test_decision_in_force_is_cacheable_and_changes_its_tag_only_with_the_decision(
    world: World, gateway: Caller
) -> None:
    before = gateway.get("/worlds/w1/decide")
    evaluate(gateway, run_id="r1", record=True)

    after = gateway.get("/worlds/w1/decide")
    again = gateway.get("/worlds/w1/decide", if_none_match=after.headers["etag"])

    assert (before.json()["reason"], before.json()["topk"]) == ("no_evaluation", [])
    assert after.json()["topk"] == ["better|long", "good|long"]
    assert (after.json()["run_id"], after.json()["ttl"]) == ("r1", "300s")
    assert after.json()["effective_mode"] == "validate"
    assert after.headers["cache-control"] == "max-age=300"
    assert after.headers["etag"] != before.headers["etag"]
    assert (again.status, again.content) == (304, b"")


def test_decision_as_of_a_past_time_is_that_of_its_newest_run(world: World, gateway: Caller) -> None:
    evaluate(gateway, run_id="r1", record=True, as_of="2026-02-20T00:00:00Z")
    evaluate(gateway, run_id="r2", record=True)

    assert gateway.get("/worlds/w1/decide?as_of=2026-02-25T00:00:00Z").json()["run_id"] == "r1"
    assert gateway.get("/worlds/w1/decide").json()["run_id"] == "r2"


def test_explanation_says_first_what_stood_in_the_way(world: World, gateway: Caller) -> None:
    evaluate(gateway, run_id="r1", record=True)

    told = gateway.get("/worlds/w1/explain?strategy_id=bad").json()

    assert (told["outcome"], told["rank"], told["run_id"]) == ("out", None, "r1")
    assert "First rule in the way: gates: sharpe_30d >= 0.5" in told["text"]
    gate = next(step for step in told["steps"] if step["stage"] == "gates")
    assert (gate["verdict"], gate["threshold"], gate["margin"] < 0) == ("fail", 0.5, True)


def test_explanation_of_what_no_run_knows_is_not_found(world: World, gateway: Caller) -> None:
    assert gateway.get("/worlds/w1/explain?strategy_id=good").code == "run-not-found"
    evaluate(gateway, run_id="r1", record=True)

    assert gateway.get("/worlds/w1/explain?strategy_id=good&run_id=r9").code == "run-not-found"
    assert gateway.get("/worlds/w1/explain?strategy_id=nobody").code == "strategy-not-found"


def test_runs_are_paged_newest_first(world: World, gateway: Caller) -> None:
    for number in range(3):
        evaluate(gateway, run_id=f"r{number}", record=True)

    first = gateway.get("/worlds/w1/strategies/good/runs?limit=2").json()
    second = gateway.get(f"/worlds/w1/runs?limit=2&cursor={first['next_cursor']}").json()

    assert [run["run_id"] for run in first["runs"] + second["runs"]] == ["r2", "r1", "r0"]
    assert second["next_cursor"] == ""


def test_run_of_a_strategy_holds_the_decision_about_each_of_its_sides(world: World, gateway: Caller) -> None:
    evaluate(gateway, run_id="r1", record=True)

    told = gateway.get("/worlds/w1/strategies/good/runs/r1").json()

    assert {side: one["outcome"] for side, one in told["decisions"].items()} == {"long": "promote"}


def test_token_of_one_strategy_is_told_about_no_other(world: World, gateway: Caller) -> None:
    evaluate(gateway, run_id="r1", record=True)
    limited = machine("submitter", strategies=("good",))

    decided = limited.get("/worlds/w1/decide").json()

    assert decided["topk"] == ["good|long"]
    assert b"better" not in limited.get("/worlds/w1/decide").content
    assert b"better" not in limited.get("/worlds/w1/runs/r1").content
    assert b"better" not in limited.post("/worlds/w1/evaluate", {"as_of": AS_OF}).content
    assert limited.get("/worlds/w1/explain?strategy_id=better").code == "strategy-not-found"
    assert limited.get("/worlds/w1/strategies/better/runs/r1").code == "strategy-not-found"


def test_evaluation_without_a_policy_is_not_found(gateway: Caller) -> None:
    make_world()

    for record in (True, False):
        assert gateway.post("/worlds/w1/evaluate", {"record": record}).code == "policy-not-found"


def test_submitter_may_try_but_not_record(world: World) -> None:
    submitter = machine("submitter")

    assert submitter.post("/worlds/w1/evaluate", {"as_of": AS_OF}).status == 200
    assert submitter.post("/worlds/w1/evaluate", {"as_of": AS_OF, "record": True}).code == "permission-denied"


def test_metrics_of_an_instance_come_with_observations_window_and_status(world: World, gateway: Caller) -> None:
    gateway.post("/worlds/w1/strategies/good/metrics", {"as_of": "2026-03-01T00:00:00Z", "metrics": {"slippage": 1.5}})

    told = gateway.get("/worlds/w1/strategies/good/metrics").json()

    assert told["policy_version"] == 1
    assert told["metrics"]["sharpe_30d"]["status"] in {"ok", "insufficient"}
    assert told["metrics"]["reported.slippage"]["value"] == 1.5
    assert {"sharpe_mid", "max_dd_long", "dsr_short", "leverage", "sample_days"} <= told["metrics"].keys()
    assert told["metrics"]["sharpe_mid"]["n_obs"] == 0 or told["metrics"]["sharpe_mid"]["value"] is not None


def test_replay_world_answers_as_of_its_own_clock(gateway: Caller) -> None:
    make_world("w2", mode="replay")
    step_clock(world_id="w2", to=LAST_CLOSE, act=shell())

    late = gateway.post("/worlds/w2/evaluate", {"as_of": "2026-03-03T00:00:00Z"})

    assert (late.status, late.json()["field"]) == (422, "as_of")


@pytest.mark.parametrize(
    ("prefer", "taken", "seconds"),
    [
        ("wait=5", 0, 5.0),
        ("wait=600", 0, 10.0),
        ("respond-async, wait = 3", 0, 3.0),
        ("wait=0", 0, 0.0),
        ("wait=x", 0, 0.25),
        ("", 0, 0.25),
        ("wait=5", waiting.LONG_WAITS, 0.25),
    ],
)
def test_wait_is_as_long_as_preferred_unless_too_many_wait_long(
    world: World, gateway: Caller, monkeypatch: pytest.MonkeyPatch, prefer: str, taken: int, seconds: float
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(waiting, "await_reply", lambda **wait: waited.append(wait["seconds"]))
    monkeypatch.setattr(waiting, "_long_waits", threading.Semaphore(waiting.LONG_WAITS - taken))

    gateway.post("/worlds/w1/evaluate", {"as_of": AS_OF}, prefer=prefer)

    assert len(waited) == 1
    assert seconds - 0.2 <= waited[0] <= seconds  # what was spent before counts, unless the caller says how long
