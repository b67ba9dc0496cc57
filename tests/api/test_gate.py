from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from audit.models import AuditEvent
from tests.api.callers import Caller, machine, session
from tests.worlds.factories import make_world, person
from tests.worlds.steps import first_apply
from worlds.models import GateHold, World
from worlds.services.authority import act_of_system
from worlds.services.gate_levels import expire_gates
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db

GOOD = {"strategy_id": "good", "side": "long"}
ACTIVATION = "/worlds/w1/activation?strategy_id=good"


@pytest.fixture
def applied(world: World, alice: User, bob: User) -> World:
    first_apply(world, alice, bob)
    return world


@pytest.fixture
def risk() -> Caller:
    return session(person("rita", "risk"))


def gate(runner: Caller) -> tuple[str, str]:
    told = runner.get(ACTIVATION).json()
    return told["gate"], told["reason"]


def test_kill_answers_what_was_killed_and_every_gate_is_closed(applied: World, runner: Caller, gateway: Caller) -> None:
    before = runner.get(ACTIVATION)

    killed = gateway.post("/worlds/w1/kill", {"reason": "fire"})

    after = runner.get(ACTIVATION)
    assert killed.json() == {"world_id": "w1", "scope": "", "recorded": True}
    assert gate(runner) == ("closed", "killed")
    assert after.headers["etag"] != before.headers["etag"]
    assert after.json()["sequence"] == before.json()["sequence"]


def test_kill_of_an_instance_names_it(applied: World, runner: Caller, gateway: Caller) -> None:
    assert gateway.post("/worlds/w1/kill", {"scope": GOOD}).json()["scope"] == "good|long"

    assert gate(runner) == ("closed", "killed")
    assert runner.get("/worlds/w1/activation?strategy_id=better").json()["active"]


def test_runner_kills_its_own_strategy_only(applied: World) -> None:
    own = machine("runner", strategies=("good",))

    assert own.post("/worlds/w1/kill", {"scope": GOOD}).status == 200
    assert own.post("/worlds/w1/kill").code == "permission-denied"
    assert own.post("/worlds/w1/kill", {"scope": {"strategy_id": "better"}}).code == "strategy-not-found"


@pytest.mark.parametrize("body", [{"scope": "everything"}, {"scope": {"strategy_id": "../x"}}, {"why": "x"}])
def test_kill_that_cannot_be_meant_is_refused_with_its_place(world: World, gateway: Caller, body: object) -> None:
    assert gateway.post("/worlds/w1/kill", body).code == "input-invalid"


def test_world_tells_committed_and_effective_apart(applied: World, gateway: Caller) -> None:
    open_ = gateway.get("/worlds/w1").json()["gate"]
    gateway.post("/worlds/w1/kill")
    fresh = gateway.get("/worlds/w1").json()["gate"]
    GateHold.objects.update(placed_at=database_now() - timedelta(minutes=1))
    old = gateway.get("/worlds/w1/describe").json()["world"]["gate"]

    assert (open_["level"], open_["committed_at"], open_["effective"]) == ("open", None, True)
    assert (fresh["level"], fresh["reason"], fresh["effective"]) == ("closed", "killed", False)
    assert fresh["committed_at"] < fresh["effective_at"]
    assert old["effective"] is True


def test_later_hold_on_a_closed_world_makes_nothing_less_effective(applied: World, gateway: Caller) -> None:
    gateway.post("/worlds/w1/kill")
    GateHold.objects.update(placed_at=database_now() - timedelta(minutes=1))

    gateway.post("/worlds/w1/suspend")

    assert gateway.get("/worlds/w1").json()["gate"]["effective"] is True


def test_gate_is_set_for_a_while_and_open_lifts_only_that(applied: World, runner: Caller, gateway: Caller) -> None:
    until = (database_now() + timedelta(hours=1)).isoformat()
    gateway.post("/worlds/w1/freeze")

    told = gateway.post("/worlds/w1/gate", {"level": "closed", "expires_at": until, "reason": "news"}).json()
    closed = gate(runner)
    refused = gateway.post("/worlds/w1/gate", {"level": "open"})
    GateHold.objects.filter(owner="gate").update(expires_at=database_now())
    expire_gates(act=act_of_system(reason="tick"))

    assert {(hold["owner"], hold["level"], hold["expires_at"] is None) for hold in told["holds"]} == {
        ("gate", "closed", False),
        ("operator", "reduce_only", True),
    }
    assert closed == ("closed", "freeze")
    assert refused.code == "permission-denied"
    assert gate(runner) == ("reduce_only", "freeze")
    kinds = AuditEvent.objects.filter(chain="w1", kind__in=["gate.set", "gate.hold_released"])
    assert list(kinds.order_by("seq").values_list("kind", flat=True)) == ["gate.set", "gate.hold_released"]


def test_gate_of_one_instance_is_its_own(applied: World, runner: Caller, gateway: Caller) -> None:
    gateway.post("/worlds/w1/gate", {"level": "reduce_only", "scope": GOOD})

    assert gate(runner) == ("reduce_only", "freeze")
    assert runner.get("/worlds/w1/activation?strategy_id=better").json()["active"]


def test_loosening_what_was_set_takes_more_than_closing(applied: World, gateway: Caller) -> None:
    gateway.post("/worlds/w1/gate", {"level": "closed"})

    assert gateway.post("/worlds/w1/gate", {"level": "reduce_only"}).code == "permission-denied"
    assert gateway.post("/worlds/w1/gate", {"level": "closed"}).status == 200


@pytest.mark.parametrize(
    "body",
    [
        {"level": "ajar"},
        {"level": "closed", "expires_at": "2001-01-01T00:00:00Z"},
        {"level": "open", "expires_at": "2999-01-01T00:00:00Z"},
        {},
    ],
)
def test_gate_that_cannot_be_meant_is_refused(world: World, gateway: Caller, body: object) -> None:
    assert gateway.post("/worlds/w1/gate", body).code == "input-invalid"
    assert not GateHold.objects.exists()


def test_reduce_only_on_a_kill_is_for_risk(applied: World, runner: Caller, gateway: Caller, risk: Caller) -> None:
    gateway.post("/worlds/w1/kill")

    refused, closed = gateway.post("/worlds/w1/gate", {"level": "reduce_only"}), gate(runner)
    allowed = risk.post("/worlds/w1/gate", {"level": "reduce_only"})

    assert (refused.code, closed) == ("permission-denied", ("closed", "killed"))
    assert [(hold["kind"], hold["level"]) for hold in allowed.json()["holds"]] == [("kill", "reduce_only")]
    assert gate(runner) == ("reduce_only", "killed")


def test_lift_is_asked_and_granted_by_another_person_in_a_live_world(gateway: Caller, risk: Caller) -> None:
    make_world("w2", mode="live")
    gateway.post("/worlds/w2/kill")

    asked = risk.post("/worlds/w2/reopenings", {"subject": "kill", "reason": "all clear"}).json()
    path = f"/worlds/w2/reopenings/{asked['id']}"
    own, token = risk.post(f"{path}/grant"), gateway.post(f"{path}/grant")
    granted = session(person("rolf", "risk")).post(f"{path}/grant", {"reason": "agreed"})

    assert (asked["state"], asked["second_person"]) == ("requested", True)
    assert (own.code, token.code) == ("self-approval", "approval-needs-session")
    assert granted.json()["state"] == "granted"
    assert not GateHold.objects.exists()
    listed = gateway.get("/worlds/w2/reopenings").json()["reopenings"]
    assert [(one["state"], one["decided_by"]) for one in listed] == [("granted", "person:rolf")]


def test_grant_needs_the_password_again(gateway: Caller, world: World) -> None:
    gateway.post("/worlds/w1/kill")
    stale = session(person("rita", "risk"), recent=False)

    asked = stale.post("/worlds/w1/reopenings", {"subject": "kill"}).json()

    assert asked["state"] == "requested"
    assert stale.post(f"/worlds/w1/reopenings/{asked['id']}/grant").code == "approval-needs-session"
    assert stale.post(f"/worlds/w1/reopenings/{asked['id']}/reject").json()["state"] == "rejected"
    assert stale.post(f"/worlds/w1/reopenings/{asked['id']}/reject").code == "conflict"
    assert stale.post("/worlds/w1/reopenings/99/reject").code == "not-found"


def test_lift_where_nothing_is_killed_is_a_conflict(world: World, risk: Caller) -> None:
    assert risk.post("/worlds/w1/reopenings", {"subject": "kill"}).code == "plan-stale"


def test_suspended_world_is_closed_until_it_is_taken_up(
    applied: World, runner: Caller, gateway: Caller, risk: Caller
) -> None:
    told = gateway.post("/worlds/w1/suspend", {"reason": "audit"}).json()
    closed = gate(runner)

    assert told["state"] == "SUSPENDED"
    assert closed == ("closed", "suspended")
    assert gateway.post("/worlds/w1/unsuspend").code == "permission-denied"
    assert risk.post("/worlds/w1/unsuspend").json()["state"] == "ACTIVE"
    assert gate(runner) == ("open", "active")
    assert AuditEvent.objects.filter(kind="world.suspended").count() == 1


def test_what_passes_after_the_lease_is_a_setting_and_comes_with_every_answer(
    applied: World, runner: Caller, gateway: Caller
) -> None:
    before = runner.get(ACTIVATION)

    changed = gateway.send("PATCH", "/worlds/w1", b'{"on_lease_expiry": "closed", "circuit_level": "closed"}')

    after = runner.get(ACTIVATION)
    assert (changed.json()["on_lease_expiry"], changed.json()["circuit_level"]) == ("closed", "closed")
    assert (before.json()["on_lease_expiry"], after.json()["on_lease_expiry"]) == ("reduce_only", "closed")
    assert after.headers["etag"] != before.headers["etag"]
    refused = gateway.send("PATCH", "/worlds/w1", b'{"on_lease_expiry": "open"}')
    assert (refused.code, refused.json()["field"]) == ("input-invalid", "on_lease_expiry")
