from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from tests.api.callers import Caller, session
from tests.worlds.factories import POLICY, person
from worlds.models import PolicyVersion, World

pytestmark = pytest.mark.django_db


def text(version: int = 2) -> str:
    return POLICY.format(world="w1", version=version)


def store(caller: Caller, policy: str) -> None:
    reply = caller.send("POST", "/worlds/w1/policies", policy.encode(), "application/yaml")
    assert reply.status == 200, reply.content


def ask_for(caller: Caller, version: int) -> str:
    change = caller.post("/worlds/w1/set-default", {"version": version}).json()
    return f"/worlds/w1/policies/changes/{change['id']}"


def test_yaml_is_stored_as_a_draft_and_the_version_in_force_stays(world: World, gateway: Caller) -> None:
    reply = gateway.send("POST", "/worlds/w1/policies", text().encode(), "application/yaml")

    assert reply.status == 200
    assert reply.json()["version"] == 2
    assert reply.json()["checksum"].startswith("sha256:")
    assert gateway.get("/worlds/w1/policies").json()["in_force"] == 1


def test_policy_is_the_same_as_yaml_as_text_in_json_and_as_an_object(world: World, gateway: Caller) -> None:
    store(gateway, text())
    as_object = gateway.get("/worlds/w1/policies/2").json()["policy"]

    in_json = gateway.post("/worlds/w1/policies", {"yaml": text()})
    as_json = gateway.post("/worlds/w1/policies", {"policy": as_object})

    assert in_json.json()["checksum"] == as_json.json()["checksum"]
    assert PolicyVersion.objects.filter(world=world).count() == 2


def test_version_number_that_is_taken_by_another_text_is_a_conflict(world: World, gateway: Caller) -> None:
    reply = gateway.post("/worlds/w1/policies", {"yaml": text(1).replace("0.5", "0.6", 1)})

    assert (reply.status, reply.code) == (409, "already-exists")


def test_policy_is_read_as_json_or_as_the_authors_text(world: World, gateway: Caller) -> None:
    as_json = gateway.get("/worlds/w1/policies/1")
    as_yaml = gateway.get("/worlds/w1/policies/1", accept="application/yaml")

    assert as_json.json()["policy"]["selection"]["topk"]["total"] == 3
    assert as_yaml.headers["content-type"].startswith("application/yaml")
    assert as_yaml.content.decode() == text(1)


def test_every_fault_is_told_at_once_with_its_place_and_nothing_is_stored(world: World, gateway: Caller) -> None:
    faulty = text().replace("sharpe_30d >= 0.5", "sharp_30d >= 0.5").replace("total: 3", "total: -1") + "colour: red\n"

    reply = gateway.send("POST", "/worlds/w1/policies", faulty.encode(), "application/yaml")

    assert (reply.status, reply.code) == (422, "policy-invalid")
    places = {(fault["path"], fault["line"]) for fault in reply.json()["faults"]}
    assert places == {("selection.gates.and[0]", 6), ("selection.topk.total", 8), ("colour", 12)}
    assert all(fault["column"] >= 1 and fault["message"] for fault in reply.json()["faults"])
    assert gateway.get("/worlds/w1/policies").json()["in_force"] == 1
    assert PolicyVersion.objects.filter(world=world).count() == 1


def test_lint_warns_and_stores_nothing(world: World, gateway: Caller) -> None:
    reply = gateway.post("/worlds/w1/policies/lint", {"yaml": text().replace("sharpe_30d >= 0.5", "max_dd_30d <= 25")})

    assert "fraction-bounds" in {warning["code"] for warning in reply.json()["lint"]}
    assert PolicyVersion.objects.filter(world=world).count() == 1


def test_diff_tells_what_changes(world: World, gateway: Caller) -> None:
    store(gateway, text().replace("total: 3", "total: 4"))

    changes = gateway.get("/worlds/w1/policies/diff?from=1&to=2").json()["changes"]

    assert {change["path"]: (change["before"], change["after"]) for change in changes} == {
        "version": (1, 2),
        "selection.topk.total": (3, 4),
    }


def test_second_person_puts_a_version_in_force(world: World, gateway: Caller, approver: Caller) -> None:
    store(gateway, text())
    change = ask_for(gateway, 2)

    reply = approver.post(f"{change}/approve", {"reason": "ok"})

    assert (reply.status, reply.json()["state"]) == (200, "in_force")
    assert gateway.get("/worlds/w1").json()["policy_version"] == 2


def test_rejected_version_stays_out(world: World, gateway: Caller, approver: Caller) -> None:
    store(gateway, text())
    change = ask_for(gateway, 2)

    assert approver.post(f"{change}/reject", {"reason": "no"}).json()["state"] == "rejected"
    assert approver.post(f"{change}/approve").code == "run-state"
    assert gateway.get("/worlds/w1").json()["policy_version"] == 1


def test_token_cannot_approve_a_policy(world: World, gateway: Caller) -> None:
    store(gateway, text())

    reply = gateway.post(f"{ask_for(gateway, 2)}/approve")

    assert (reply.status, reply.code) == (403, "approval-needs-session")


def test_approval_of_a_policy_needs_a_recent_password(world: World, gateway: Caller, bob: User) -> None:
    store(gateway, text())

    reply = session(bob, recent=False).post(f"{ask_for(gateway, 2)}/approve")

    assert (reply.status, reply.code) == (403, "approval-needs-session")


def test_approval_without_csrf_token_is_refused(world: World, gateway: Caller, bob: User) -> None:
    store(gateway, text())
    forged = session(bob)
    forged.headers = {}

    reply = forged.post(f"{ask_for(gateway, 2)}/approve")

    assert (reply.status, reply.code) == (403, "forbidden")


def test_change_of_another_world_is_not_found(world: World, gateway: Caller) -> None:
    gateway.post("/worlds", {"id": "w2"})
    carol = session(person("carol", "approver"))
    store(gateway, text())
    change = ask_for(gateway, 2).replace("/w1/", "/w2/")

    assert carol.post(f"{change}/approve").code == "run-not-found"


def test_session_reaches_approvals_and_gates_but_nothing_else(world: World, approver: Caller) -> None:
    assert approver.get("/worlds/w1").code == "unauthenticated"
    assert approver.post("/worlds/w1/evaluate", {}).code == "unauthenticated"
    assert approver.post("/worlds/w1/freeze").status == 200


@pytest.mark.parametrize("version", ["0", "-1", "x", "99999999999", "1e3"])
def test_version_that_is_no_version_is_refused(world: World, gateway: Caller, version: str) -> None:
    assert gateway.get(f"/worlds/w1/policies/{version}").code == "input-invalid"


def test_version_that_does_not_exist_is_not_found(world: World, gateway: Caller) -> None:
    assert gateway.get("/worlds/w1/policies/9").code == "policy-not-found"
    assert gateway.post("/worlds/w1/set-default?v=9").code == "policy-not-found"
