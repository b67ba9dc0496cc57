from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from qmtl_worlds.contracts.activation import parse_envelope
from strategies.models import StrategyInstance
from tests.api.callers import Caller, machine
from tests.worlds.factories import LAST_CLOSE, make_world
from tests.worlds.steps import first_apply
from worlds.models import World

pytestmark = pytest.mark.django_db

GOOD = "/worlds/w1/activation?strategy_id=good"


@pytest.fixture
def applied(world: World, alice: User, bob: User) -> World:
    first_apply(world, alice, bob)
    world.refresh_from_db()
    return world


def test_active_instance_is_told_with_lease_and_tag(applied: World, runner: Caller) -> None:
    reply = runner.get(f"{GOOD}&side=long&consistent=true")

    envelope = parse_envelope(reply.json())
    assert (envelope.active, envelope.gate.value, envelope.generation) == (True, "open", 1)
    assert reply.headers["etag"] == f'"{envelope.etag}"'
    assert reply.headers["cache-control"] == "no-store"
    assert 0 < int(reply.headers["lease-ms"]) <= applied.lease_ms


def test_body_is_constant_for_a_tag_and_a_304_renews_the_lease(applied: World, runner: Caller) -> None:
    first = runner.get(GOOD)

    same = runner.get(GOOD)
    unchanged = runner.get(GOOD, if_none_match=first.headers["etag"])

    assert same.content == first.content
    assert (unchanged.status, unchanged.content) == (304, b"")
    assert unchanged.headers["etag"] == first.headers["etag"]
    assert int(unchanged.headers["lease-ms"]) > 0


def test_another_tag_is_no_304(applied: World, runner: Caller) -> None:
    assert runner.get(GOOD, if_none_match='"1.2.3-abc"').status == 200


def test_tokens_that_are_no_runners_get_no_lease(applied: World, gateway: Caller) -> None:
    for role in ("gateway", "submitter", "scheduler"):
        reply = machine(role).get(GOOD)

        assert (reply.status, reply.headers["lease-ms"]) == (200, "0")


@pytest.mark.parametrize(
    ("strategy", "reason"), [("bad", "not_selected"), ("nobody", "unknown"), ("good&side=short", "unknown")]
)
def test_closed_is_an_answer_with_its_reason(applied: World, runner: Caller, strategy: str, reason: str) -> None:
    reply = runner.get(f"/worlds/w1/activation?strategy_id={strategy}")

    assert reply.status == 200
    assert (reply.json()["active"], reply.json()["weight"], reply.json()["reason"]) == (False, 0.0, reason)


def test_world_that_was_never_applied_is_closed(world: World, runner: Caller) -> None:
    told = runner.get(GOOD).json()

    assert (told["gate"], told["reason"], told["effective_mode"]) == ("closed", "never_applied", "validate")


def test_frozen_world_lets_exits_through_only_and_says_so(applied: World, runner: Caller, gateway: Caller) -> None:
    before = runner.get(GOOD)

    frozen = gateway.post("/worlds/w1/freeze", {"reason": "looking"})

    after = runner.get(GOOD)
    assert [(hold["kind"], hold["level"], hold["reason"]) for hold in frozen.json()["holds"]] == [
        ("freeze", "reduce_only", "looking")
    ]
    assert (after.json()["gate"], after.json()["reason"], after.json()["freeze"]) == ("reduce_only", "freeze", True)
    assert after.headers["etag"] != before.headers["etag"]
    assert after.json()["state_hash"] != before.json()["state_hash"]
    assert gateway.post("/worlds/w1/unfreeze").code == "permission-denied"


def test_paused_world_trades_on(applied: World, runner: Caller, gateway: Caller) -> None:
    assert gateway.post("/worlds/w1/pause").json()["paused"] is True

    assert runner.get(GOOD).json()["active"] is True
    assert gateway.post("/worlds/w1/resume").code == "permission-denied"


def test_whole_set_names_every_instance_and_authorizes_nothing(applied: World, runner: Caller) -> None:
    reply = runner.get("/worlds/w1/activation")

    told = reply.json()
    assert {entry["strategy_id"]: entry["active"] for entry in told["entries"]} == {
        "bad": False,
        "better": True,
        "good": True,
    }
    assert (told["gate"], told["generation"], reply.headers["lease-ms"]) == ("open", 1, "0")
    assert len({entry["state_hash"] for entry in told["entries"]} | {told["state_hash"]}) == 1
    assert runner.get("/worlds/w1/activation", if_none_match=reply.headers["etag"]).status == 304


def test_whole_set_of_a_world_without_strategies_is_empty(runner: Caller) -> None:
    make_world()

    assert runner.get("/worlds/w1/activation").json()["entries"] == []


def test_token_of_one_strategy_sees_others_as_unknown(applied: World) -> None:
    limited = machine("runner", strategies=("good",))

    assert limited.get(GOOD).json()["active"] is True
    assert limited.get("/worlds/w1/activation?strategy_id=better").json()["reason"] == "unknown"
    assert [entry["strategy_id"] for entry in limited.get("/worlds/w1/activation").json()["entries"]] == ["good"]


def test_state_hash_changes_with_the_state(applied: World, gateway: Caller) -> None:
    before = gateway.get("/worlds/w1/activation/state_hash").json()["state_hash"]
    policy = gateway.get("/worlds/w1/policy/state_hash").json()["state_hash"]

    gateway.post("/worlds/w1/freeze")

    assert gateway.get("/worlds/w1/activation/state_hash").json()["state_hash"] != before
    assert policy == gateway.get("/worlds/w1/policies/1").json()["checksum"]


def test_unknown_world_and_side_are_refused(world: World, runner: Caller) -> None:
    assert runner.get("/worlds/w9/activation?strategy_id=good").code == "world-not-found"
    assert runner.get(f"{GOOD}&side=up").json()["field"] == "side"


def test_stale_data_lets_exits_through_only(applied: World, runner: Caller) -> None:
    StrategyInstance.objects.filter(strategy_id="good").update(fresh_until=LAST_CLOSE)

    told = runner.get(GOOD).json()

    assert (told["active"], told["gate"], told["reason"]) == (False, "reduce_only", "stale")
