from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from tests.api.callers import Caller, machine, session
from tests.worlds.factories import LAST_CLOSE, person
from worlds.models import ApplyRun, World

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("run_worker_inline")]


def evaluate(gateway: Caller, run_id: str = "eval-1") -> None:
    body = {"run_id": run_id, "as_of": LAST_CLOSE.isoformat(), "record": True}
    assert gateway.post("/worlds/w1/evaluate", body).status == 200


def ask(gateway: Caller, run_id: str = "apply-1", **body: object) -> Any:
    reply = gateway.post("/worlds/w1/apply", {"run_id": run_id, **body})
    assert reply.status == 200, reply.content
    return reply.json()


def run_through(gateway: Caller, approver: Caller, run_id: str = "apply-1", **body: object) -> Any:
    asked = ask(gateway, run_id, **body)
    done = approver.post(f"/worlds/w1/apply/{run_id}/approve", {"plan_hash": asked["plan_hash"]})
    assert done.status == 200, done.content
    return gateway.get(f"/worlds/w1/apply/{run_id}").json()


def two_generations(gateway: Caller, approver: Caller) -> None:
    run_through(gateway, approver)
    evaluate(gateway, "eval-2")
    ask(gateway, "apply-2", plan={"deactivate": ["good"]})


@pytest.fixture
def evaluated(world: World, gateway: Caller) -> World:
    evaluate(gateway)
    return world


def test_apply_waits_for_approval_and_says_what_it_leads_to(evaluated: World, gateway: Caller) -> None:
    asked = ask(gateway, evaluation_run_id="eval-1", reason="weekly")

    assert (asked["ok"], asked["phase"], asked["kind"]) == (True, "awaiting_approval", "increase")
    assert asked["active"] == ["better|long", "good|long"]
    assert (asked["reduce_run_id"], asked["replayed"]) == (None, False)
    shown = gateway.get("/worlds/w1/apply/apply-1").json()
    assert [(change["key"], change["kind"], change["after"]) for change in shown["changes"]] == [
        ("better|long", "promote", 0.3),
        ("good|long", "promote", 0.3),
    ]
    assert (shown["reason"], shown["evaluation_run_id"], shown["approvals"]) == ("weekly", "eval-1", [])


def test_same_request_again_is_answered_with_the_same_run(evaluated: World, gateway: Caller) -> None:
    first = ask(gateway)
    evaluate(gateway, "eval-2")

    again = ask(gateway)

    assert again == {**first, "replayed": True}


def test_run_id_of_another_request_is_a_conflict(evaluated: World, gateway: Caller) -> None:
    ask(gateway)

    clash = gateway.post("/worlds/w1/apply", {"run_id": "apply-1", "plan": {"activate": ["good"]}})

    assert (clash.status, clash.code, clash.json()["holder_run_id"]) == (409, "run-id-reused", "apply-1")


def test_newer_plan_supersedes_one_that_waits(evaluated: World, gateway: Caller) -> None:
    ask(gateway)

    ask(gateway, "apply-2")

    older = gateway.get("/worlds/w1/apply/apply-1").json()
    assert (older["phase"], older["phase_reason"]) == ("cancelled", "superseded")


def test_second_person_approves_and_the_run_completes(evaluated: World, gateway: Caller, approver: Caller) -> None:
    done = run_through(gateway, approver)

    assert (done["phase"], done["target_generation"]) == ("completed", 1)
    assert [one["approver"] for one in done["approvals"]] == ["person:bob"]
    assert done["result"]["outcome"] == "done"


def test_approval_by_token_is_refused_whatever_its_role(evaluated: World, gateway: Caller) -> None:
    asked = ask(gateway)

    for role in ("gateway", "runner", "scheduler", "submitter"):
        reply = machine(role).post("/worlds/w1/apply/apply-1/approve", {"plan_hash": asked["plan_hash"]})

        assert (reply.status, reply.code) == (403, "approval-needs-session")


def test_approval_of_another_plan_than_the_shown_one_is_stale(
    evaluated: World, gateway: Caller, approver: Caller
) -> None:
    ask(gateway)

    reply = approver.post("/worlds/w1/apply/apply-1/approve", {"plan_hash": "sha256:" + "0" * 64})

    assert (reply.status, reply.code) == (409, "plan-stale")


def test_approval_needs_a_recent_password_another_person_and_the_right(
    evaluated: World, gateway: Caller, alice: User, bob: User
) -> None:
    plan = {"plan_hash": ask(gateway)["plan_hash"]}
    path = "/worlds/w1/apply/apply-1/approve"

    assert session(bob, recent=False).post(path, plan).code == "approval-needs-session"
    assert session(alice).post(path, plan).code == "permission-denied"
    assert session(person("stranger")).post(path, plan).code == "world-not-found"
    assert ApplyRun.objects.get().approvals.count() == 0


def test_author_of_the_policy_cannot_approve_even_as_approver(evaluated: World, gateway: Caller, alice: User) -> None:
    plan = {"plan_hash": ask(gateway)["plan_hash"]}
    twin = person("alice2", "approver")
    twin.email = alice.email.upper()
    twin.save()

    reply = session(twin).post("/worlds/w1/apply/apply-1/approve", plan)

    assert (reply.status, reply.code) == (403, "self-approval")


def test_rejected_run_changes_nothing(evaluated: World, gateway: Caller, approver: Caller) -> None:
    ask(gateway)

    reply = approver.post("/worlds/w1/apply/apply-1/reject", {"reason": "not today"})

    assert (reply.json()["phase"], reply.json()["phase_reason"]) == ("cancelled", "rejected")
    assert gateway.get("/worlds/w1").json()["generation"] == 0
    assert approver.post("/worlds/w1/apply/apply-1/reject").code == "run-state"


def test_waiting_run_can_be_aborted_by_whoever_may_close(evaluated: World, gateway: Caller) -> None:
    ask(gateway)

    reply = gateway.post("/worlds/w1/apply/apply-1/abort", {"reason": "stop"})

    assert reply.status == 200, reply.content
    assert reply.json()["phase"] == "cancelled"


def test_run_that_is_not_held_cannot_be_resumed(evaluated: World, gateway: Caller, approver: Caller) -> None:
    ask(gateway)

    assert approver.post("/worlds/w1/apply/apply-1/resume").code == "run-state"


def test_hand_plan_takes_over_only_what_it_names(evaluated: World, gateway: Caller, approver: Caller) -> None:
    done = run_through(gateway, approver, plan={"activate": [{"strategy_id": "good", "side": "long"}]})

    assert done["active"] == ["good|long"]


def test_hand_plan_may_not_name_what_the_evaluation_left_out(evaluated: World, gateway: Caller) -> None:
    reply = gateway.post("/worlds/w1/apply", {"run_id": "a1", "plan": {"activate": ["bad"]}})

    assert (reply.status, reply.json()["field"]) == (422, "plan.activate")


def test_plan_that_only_takes_away_needs_nobody(evaluated: World, gateway: Caller, approver: Caller) -> None:
    two_generations(gateway, approver)

    assert gateway.get("/worlds/w1/apply/apply-2").json()["kind"] == "reduce"
    assert gateway.get("/worlds/w1/apply/apply-2").json()["phase"] == "completed"
    (entry,) = gateway.get("/worlds/w1/generations/2").json()["entries"]
    assert entry["strategy_id"] == "better"


def test_plan_seen_before_a_change_is_stale_by_hash_and_by_etag(
    evaluated: World, gateway: Caller, approver: Caller
) -> None:
    seen = gateway.get("/worlds/w1/activation?strategy_id=good").headers["etag"]
    run_through(gateway, approver)

    by_evaluation = gateway.post("/worlds/w1/apply", {"run_id": "a2", "evaluation_run_id": "eval-1"})
    by_etag = gateway.post("/worlds/w1/apply", {"run_id": "a2"}, if_match=seen)
    evaluate(gateway, "eval-2")
    by_hash = gateway.post("/worlds/w1/apply", {"run_id": "a2", "plan_hash": "sha256:" + "0" * 64})

    assert (by_evaluation.status, by_evaluation.code) == (409, "plan-stale")
    assert (by_etag.status, by_etag.code) == (412, "etag-mismatch")
    assert (by_hash.status, by_hash.code) == (409, "plan-stale")


def test_apply_of_what_nobody_evaluated_is_not_found(world: World, gateway: Caller) -> None:
    assert gateway.post("/worlds/w1/apply", {"run_id": "a1"}).code == "run-not-found"
    assert gateway.post("/worlds/w1/apply", {"run_id": "a1", "evaluation_run_id": "e9"}).code == "run-not-found"
    assert gateway.get("/worlds/w1/apply/a1").code == "run-not-found"


def test_rollback_is_a_new_generation_whose_increase_waits(evaluated: World, gateway: Caller, approver: Caller) -> None:
    two_generations(gateway, approver)

    back = gateway.post("/worlds/w1/rollback", {"run_id": "back-1", "to_generation": 1, "reason": "worse"})

    assert (back.status, back.json()["active"]) == (200, ["better|long", "good|long"])
    assert back.json()["phase"] == "awaiting_approval"
    assert gateway.get("/worlds/w1/apply/back-1").json()["rollback_to"] == 1
    again = gateway.post("/worlds/w1/rollback", {"run_id": "back-1", "to_run_id": "apply-1", "reason": "worse"})
    assert again.json()["replayed"] is True


@pytest.mark.parametrize("body", [{"to_generation": 0, "to_run_id": "apply-1"}, {}, {"to_generation": 7}])
def test_rollback_to_no_or_two_or_future_generations_is_refused(
    evaluated: World, gateway: Caller, approver: Caller, body: dict[str, object]
) -> None:
    run_through(gateway, approver)

    reply = gateway.post("/worlds/w1/rollback", {"run_id": "back-1", "reason": "x", **body})

    assert (reply.status, reply.json()["field"]) == (422, "to_generation")


def test_generations_are_paged_newest_first(evaluated: World, gateway: Caller, approver: Caller) -> None:
    two_generations(gateway, approver)

    first = gateway.get("/worlds/w1/generations?limit=1").json()
    second = gateway.get(f"/worlds/w1/generations?limit=1&cursor={first['next_cursor']}").json()

    told = [
        (one["generation"], one["run_id"], one["entry_count"]) for one in first["generations"] + second["generations"]
    ]
    assert told == [(2, "apply-2", 1), (1, "apply-1", 2)]
    assert gateway.get("/worlds/w1/generations/3").code == "generation-not-found"
    assert gateway.get("/worlds/w1/generations/0").code == "generation-not-found"


def test_audit_tells_the_story_with_request_ids(evaluated: World, gateway: Caller, approver: Caller) -> None:
    gateway.post("/worlds/w1/apply", {"run_id": "apply-1", "reason": "weekly"}, x_request_id="req-7")

    page = gateway.get("/worlds/w1/audit?request_id=req-7").json()
    first = gateway.get("/worlds/w1/audit?limit=2").json()
    second = gateway.get(f"/worlds/w1/audit?limit=2&cursor={first['next_cursor']}").json()

    (event,) = page["events"]
    assert (event["kind"], event["reason"], event["run_id"]) == ("apply.requested", "weekly", "apply-1")
    assert event["actor"].startswith("token:")
    assert event["hash"].startswith("sha256:")
    numbers = [one["seq"] for one in first["events"] + second["events"]]
    assert numbers == sorted(numbers, reverse=True)
    assert first["events"][-1]["prev_hash"] == second["events"][0]["hash"]


@pytest.mark.parametrize("cursor", ["x", "1", "1.2.3", "-1.1"])
def test_audit_cursor_of_nobody_is_refused(world: World, gateway: Caller, cursor: str) -> None:
    assert gateway.get(f"/worlds/w1/audit?cursor={cursor}").json()["field"] == "cursor"
