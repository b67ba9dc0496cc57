from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User

from tests.api.callers import Caller, Reply, machine, session
from tests.worlds.factories import POLICY, add_strategy, put_policy
from tests.worlds.steps import drained, evaluate, first_apply, lose, wait_with_increase
from worlds.models import RunnerSession, World

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/worlds/w1/activation"
FLAT = POLICY.replace("on_promote: carry", "on_promote: flat_then_enable")


@pytest.fixture
def applied(world: World, alice: User, bob: User) -> World:
    """``good`` and ``better`` trade."""
    first_apply(world, alice, bob)
    return world


@pytest.fixture
def operator(alice: User) -> Caller:
    return session(alice)


def put(caller: Caller, body: dict[str, object], **headers: str) -> Reply:
    given = {"strategy_id": "good", "reason": "bad fills", **body}
    return caller.send("PUT", PATH, json.dumps(given).encode(), **headers)


def told(runner: Caller, strategy: str = "good") -> Any:
    return runner.get(f"{PATH}?strategy_id={strategy}").json()


def test_override_is_done_at_once_and_shown_wherever_the_instance_is(
    applied: World, operator: Caller, gateway: Caller, runner: Caller
) -> None:
    reply = put(operator, {"active": True, "weight": 0.1, "ttl_seconds": 3600})

    body = reply.json()
    assert (reply.status, body["active"], body["weight"], body["reopening"]) == (200, True, 0.1, None)
    override = body["override"]
    assert (override["cap"], override["reason"], override["set_by"]) == (0.1, "bad fills", "person:alice")
    assert override["expires_at"] is not None
    assert told(runner)["weight"] == 0.1
    assert runner.get(PATH).json()["overrides"] == [override]
    bound = {one["strategy_id"]: one["override"] for one in gateway.get("/worlds/w1/bindings").json()["instances"]}
    assert (bound["good"], bound["better"]) == (override, None)
    assert gateway.get("/worlds/w1/explain?strategy_id=good").json()["override"] == override


def test_override_to_inactive_says_why_it_is_closed(applied: World, operator: Caller, runner: Caller) -> None:
    body = put(operator, {"active": False}).json()

    assert (body["active"], body["gate"], body["reason"]) == (False, "reduce_only", "override")
    assert told(runner)["reason"] == "override"


def test_gateway_may_take_away_and_not_loosen(applied: World, gateway: Caller) -> None:
    taken = put(gateway, {"active": True, "freeze": True})

    loosened = put(gateway, {"active": True, "freeze": False})

    assert (taken.status, taken.json()["reason"]) == (200, "freeze")
    assert (loosened.status, loosened.code) == (403, "permission-denied")


def test_runner_may_take_away_from_the_strategies_that_its_token_names_only(applied: World) -> None:
    own = machine("runner", strategies=("good",))

    taken, foreign = put(own, {"active": False}), put(own, {"active": False, "strategy_id": "better"})
    of_all = put(machine("runner"), {"active": False})

    assert (taken.status, taken.json()["reason"]) == (200, "override")
    assert (foreign.status, foreign.code) == (404, "strategy-not-found")
    assert (of_all.status, of_all.code) == (403, "permission-denied")


def test_what_loosens_is_accepted_and_waits_for_another_person(
    applied: World, operator: Caller, approver: Caller, runner: Caller
) -> None:
    put(operator, {"active": True, "weight": 0.1})

    asked = put(operator, {"active": True})
    before = told(runner)["weight"]
    waits = asked.json()["reopening"]
    granted = approver.post(f"/worlds/w1/reopenings/{waits['id']}/grant", {"reason": "fine again"})

    assert (asked.status, before, waits["subject"], waits["state"]) == (202, 0.1, "override", "requested")
    assert (granted.status, granted.json()["state"]) == (200, "granted")
    assert told(runner)["weight"] == 0.3
    assert runner.get(PATH).json()["overrides"] == []


@pytest.mark.parametrize(
    "body",
    [
        {"active": True, "weight": 1.5},
        {"active": True, "weight": -0.1},
        {"active": True, "weight": 0.9},
        {"active": False, "weight": 0.1},
        {"active": True, "side": "up"},
        {"active": True, "mode": "live"},
        {"active": True, "ttl_seconds": 0},
        {"active": True, "ttl_seconds": 60, "expires_at": "2999-01-01T00:00:00Z"},
        {"active": True, "expires_at": "2020-01-01T00:00:00Z"},
        {"active": True, "strategy_id": "bad"},
        {"weight": 0.1},
    ],
)
def test_override_that_cannot_be_is_refused(applied: World, operator: Caller, body: dict[str, object]) -> None:
    assert put(operator, body).status == 422


def test_override_of_an_unknown_strategy_is_not_found(applied: World, operator: Caller) -> None:
    assert put(operator, {"strategy_id": "ghost", "active": False}).code == "strategy-not-found"


def test_override_on_an_older_sight_is_refused(applied: World, operator: Caller, runner: Caller) -> None:
    tag = runner.get(f"{PATH}?strategy_id=good").headers["etag"]
    first = put(operator, {"active": True, "weight": 0.2}, If_Match=tag)

    second = put(operator, {"active": False}, If_Match=tag)

    assert (first.status, second.status, second.code) == (200, 412, "etag-mismatch")


def test_token_of_one_strategy_sees_no_override_of_others(applied: World, operator: Caller) -> None:
    put(operator, {"active": True, "weight": 0.1})

    limited = machine("runner", strategies=("better",))

    assert limited.get(PATH).json()["overrides"] == []


def test_runner_says_that_it_is_flat_and_trades(world: World, alice: User, bob: User, runner: Caller) -> None:
    put_policy(world, author=alice, approver=bob, version=2, text=FLAT)
    first_apply(world, alice, bob)
    before = told(runner)

    early = runner.post("/worlds/w1/acks", {"client_id": "node-1", "sequence": 1, "flat": ["good"]}).json()
    reply = runner.post("/worlds/w1/acks", {"client_id": "node-1", "sequence": before["sequence"], "flat": ["good"]})

    assert before["reason"] == "awaiting_flat"
    assert (early["released"], early["waiting"]) == ([], ["good|long"])
    assert (reply.json()["released"], reply.json()["waiting"]) == (["good|long"], [])
    assert told(runner)["active"] is True
    assert RunnerSession.objects.get().sequence == before["sequence"]


def test_runner_of_another_strategy_cannot_say_so(applied: World) -> None:
    other = machine("runner", strategies=("better",))

    reply = other.post("/worlds/w1/acks", {"client_id": "node-1", "sequence": 1, "flat": ["good"]})

    assert (reply.status, reply.code) == (404, "strategy-not-found")


def test_acknowledgement_from_the_future_is_refused(applied: World, runner: Caller) -> None:
    reply = runner.post("/worlds/w1/acks", {"client_id": "node-1", "sequence": 10**9})

    assert (reply.status, reply.json()["field"]) == (422, "sequence")


def test_rollback_pins_what_is_shown_until_somebody_unpins(applied: World, gateway: Caller, operator: Caller) -> None:
    body = {"run_id": "back-1", "to_generation": 0, "pin_expires_at": "2999-01-01T00:00:00Z", "reason": "bad day"}
    assert gateway.get("/worlds/w1").json()["pin"] is None

    gateway.post("/worlds/w1/rollback", body)
    pin = gateway.get("/worlds/w1").json()["pin"]
    unpinned = operator.post("/worlds/w1/unpin", {"reason": "all good"})

    assert (pin["generation"], pin["reason"], pin["expires_at"]) == (0, "bad day", "2999-01-01T00:00:00Z")
    assert (unpinned.status, unpinned.json()) == (200, {"world_id": "w1", "pinned": False})
    assert gateway.get("/worlds/w1").json()["pin"] is None


def test_refusal_of_an_increase_names_the_reducing_part_that_goes_ahead(
    world: World, alice: User, bob: User, gateway: Caller
) -> None:
    holder = drained(world, wait_with_increase(world, alice, bob), bob)
    lose(world, "good", day=2)
    add_strategy(world, "finest", quality=12)
    evaluate(world, "eval-3", day=2)

    reply = gateway.post("/worlds/w1/apply", {"run_id": "run-3", "evaluation_run_id": "eval-3"})

    assert (reply.status, reply.code) == (409, "world-busy")
    assert (reply.json()["holder_run_id"], reply.json()["reduce_run_id"]) == (holder.run_id, "run-3:reduce")
    assert gateway.get("/worlds/w1/apply/run-3:reduce").json()["kind"] == "reduce"
