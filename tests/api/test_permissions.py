"""Who may do what over HTTP: every route with every role, in the own world and in a foreign one.

The matrix of PROTOCOL 6 is written out here by hand; ``config/roles.yml`` must lead to the same.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import pytest

from tests.api.callers import Caller, Reply, machine, nobody, session
from tests.worlds.factories import add_strategy, make_world, person, put_policy
from worlds.models import World

pytestmark = pytest.mark.django_db

READERS: Final = frozenset({"runner", "submitter", "scheduler", "gateway", "qmtl"})
GATEWAY: Final = frozenset({"gateway", "qmtl"})
QMTL: Final = frozenset({"qmtl"})
PUSHERS: Final = frozenset({"submitter", "gateway", "qmtl"})
NOBODY: Final[frozenset[str]] = frozenset()
MACHINES: Final = ("runner", "submitter", "scheduler", "gateway", "qmtl")
PEOPLE: Final = ("viewer", "author", "operator", "approver", "risk", "auditor", "admin")
HASH: Final = "sha256:" + "0" * 64
RETURNS: Final = {"ts": ["2026-03-03T00:00:00Z"], "ret": [0.01]}


@dataclass(frozen=True, slots=True)
class Route:
    """One route, and the machines that may use it; a refusal for another reason than rights means that they may."""

    method: str
    path: str
    allowed: frozenset[str]
    body: object = None


ROUTES: Final = (
    Route("GET", "", READERS),
    Route("GET", "/describe", READERS),
    Route("PUT", "", GATEWAY, {"name": "x"}),
    Route("PATCH", "", GATEWAY, {"name": "x"}),
    Route("DELETE", "", QMTL),
    Route("GET", "/policies", READERS),
    Route("GET", "/policies/1", READERS),
    Route("GET", "/policies/diff?from=1&to=1", READERS),
    Route("POST", "/policies/lint", READERS, {"yaml": "x"}),
    Route("POST", "/policies", GATEWAY, {"yaml": "x"}),
    Route("POST", "/set-default", GATEWAY, {"version": 1}),
    Route("POST", "/policies/changes/1/reject", NOBODY),
    Route("GET", "/bindings", READERS),
    Route("POST", "/bindings", PUSHERS, {"strategies": ["s1"]}),
    Route("DELETE", "/bindings/s1", PUSHERS),
    Route("GET", "/decisions", READERS),
    Route("POST", "/decisions", PUSHERS, {"strategies": ["s1"]}),
    Route("POST", "/strategies/s1/returns", PUSHERS, RETURNS),
    Route("POST", "/strategies/s1/metrics", PUSHERS, {"as_of": "2026-03-01T00:00:00Z", "metrics": {"a": 1}}),
    Route("GET", "/strategies/s1/runs", READERS),
    Route("GET", "/strategies/s1/runs/r1", READERS),
    Route(
        "POST",
        "/evaluate",
        frozenset({"scheduler", "gateway", "qmtl"}),
        {"record": True, "as_of": "2999-01-01T00:00:00Z"},
    ),
    Route("POST", "/evaluate", READERS, {"as_of": "2999-01-01T00:00:00Z"}),
    Route("GET", "/decide", READERS),
    Route("GET", "/explain?strategy_id=s1", READERS),
    Route("GET", "/runs", READERS),
    Route("GET", "/runs/r1", READERS),
    Route("POST", "/apply", GATEWAY, {"run_id": "a1"}),
    Route("GET", "/apply/a1", READERS),
    Route("POST", "/apply/a1/approve", NOBODY, {"plan_hash": HASH}),
    Route("POST", "/apply/a1/reject", NOBODY),
    Route("POST", "/apply/a1/resume", NOBODY),
    Route("POST", "/apply/a1/abort", GATEWAY),
    Route("POST", "/rollback", GATEWAY, {"run_id": "a1", "to_generation": 1, "reason": "x"}),
    Route("GET", "/generations", READERS),
    Route("GET", "/generations/1", READERS),
    Route("GET", "/audit", GATEWAY),
    Route("GET", "/activation", READERS),
    Route("GET", "/activation?strategy_id=s1", READERS),
    Route("PUT", "/activation", GATEWAY, {"strategy_id": "s1", "active": False, "reason": "x"}),
    Route("POST", "/acks", frozenset({"runner"}), {"client_id": "c1", "sequence": 0}),
    Route("POST", "/unpin", NOBODY),
    Route("GET", "/activation/state_hash", READERS),
    Route("GET", "/policy/state_hash", READERS),
    Route("POST", "/kill", GATEWAY),
    Route("POST", "/gate", GATEWAY, {"level": "closed"}),
    Route("POST", "/suspend", GATEWAY),
    Route("POST", "/unsuspend", NOBODY),
    Route("GET", "/reopenings", READERS),
    Route("POST", "/reopenings", NOBODY, {"subject": "kill"}),
    Route("GET", "/history", READERS),
    Route("POST", "/history", PUSHERS, {"strategy_id": "s1"}),
    Route("GET", "/strategies/s1/runs/r1/metrics", READERS),
    Route("GET", "/strategies/s1/runs/r1/history", READERS),
    Route("POST", "/reopenings/1/grant", NOBODY),
    Route("POST", "/reopenings/1/reject", NOBODY),
    Route("POST", "/equity", PUSHERS, {"snapshots": [{"ts": "2026-03-03T00:00:00Z", "equity": 100.0}]}),
    Route("GET", "/circuit", READERS),
    Route("POST", "/circuit/reset", NOBODY, {"high_water_mark": "keep", "reason": "x"}),
    Route("GET", "/alerts", READERS),
    Route("POST", "/alerts/1/acknowledge", NOBODY),
    Route("POST", "/freeze", GATEWAY),
    Route("POST", "/pause", GATEWAY),
    Route("POST", "/unfreeze", NOBODY),
    Route("POST", "/resume", NOBODY),
)
SESSION_ROUTES: Final = (
    Route("POST", "/apply/a1/approve", frozenset({"approver", "risk"}), {"plan_hash": HASH}),
    Route("POST", "/apply/a1/reject", frozenset({"approver", "risk"})),
    Route("POST", "/apply/a1/resume", frozenset({"approver", "risk"})),
    Route("POST", "/apply/a1/abort", frozenset({"operator", "approver", "risk"})),
    Route(
        "PUT",
        "/activation",
        frozenset({"operator", "approver", "risk"}),
        {"strategy_id": "s1", "active": False, "reason": "x"},
    ),
    Route("POST", "/unpin", frozenset({"operator", "risk"})),
    Route("POST", "/reopenings", frozenset({"operator", "risk"}), {"subject": "kill"}),
    Route("POST", "/kill", frozenset({"operator", "approver", "risk"})),
    Route("POST", "/gate", frozenset({"operator", "approver", "risk"}), {"level": "closed"}),
    Route("POST", "/suspend", frozenset({"operator", "approver", "risk"})),
    Route("POST", "/unsuspend", frozenset({"approver", "risk"})),
    Route("POST", "/circuit/reset", frozenset({"operator", "risk"}), {"high_water_mark": "keep", "reason": "x"}),
    Route("POST", "/alerts/1/acknowledge", frozenset({"operator", "approver", "risk"})),
    Route("POST", "/policies/changes/{change}/approve", frozenset({"approver", "risk"})),
    Route("POST", "/policies/changes/{change}/reject", frozenset({"approver", "risk"})),
)
REFUSALS: Final = frozenset({"permission-denied", "approval-needs-session"})


@pytest.fixture
def world() -> World:
    """A world with a policy in force, another one asked for, and one strategy."""
    world = make_world()
    author = person("writer", "author")
    put_policy(world, author=author, approver=person("second", "approver"))
    add_strategy(world, "s1", quality=3)
    return world


def call(caller: Caller, route: Route, path: str) -> Reply:
    if route.method in {"GET", "DELETE"}:
        return caller.send(route.method, path, b"", "")
    return caller.send(route.method, path, json.dumps({} if route.body is None else route.body).encode())


def refused(caller: Caller, route: Route, world_id: str) -> bool:
    """Whether the caller is refused for lack of rights; anything else means that the right was there."""
    reply = call(caller, route, f"/worlds/{world_id}{route.path}")
    assert reply.status < 500, reply.content
    if reply.status < 400:
        return False
    return reply.code in REFUSALS


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_machine_may_do_in_its_world_what_its_role_says(world: World, route: Route) -> None:
    allowed = {role for role in MACHINES if not refused(machine(role, worlds=("w1",)), route, "w1")}

    assert allowed == route.allowed


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_machine_learns_nothing_of_a_foreign_world(world: World, route: Route) -> None:
    make_world("own")

    for role in MACHINES:
        stranger = machine(role, worlds=("own",))
        for path in (f"/worlds/w1{route.path}", f"/worlds/w9{route.path}"):
            reply = call(stranger, route, path)

            if reply.status != 422:  # the body, before the world is looked at
                assert (reply.status, reply.code) == (404, "world-not-found"), (role, path, reply.content)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_nobody_without_a_credential_gets_in(world: World, route: Route) -> None:
    reply = nobody().send(route.method, f"/worlds/w1{route.path}", b"", "")

    assert (reply.status, reply.code) == (401, "unauthenticated")


@pytest.mark.parametrize("route", SESSION_ROUTES, ids=lambda route: route.path)
def test_person_may_do_in_the_own_world_what_the_role_says(world: World, gateway: Caller, route: Route) -> None:
    change = gateway.post("/worlds/w1/set-default", {"version": 1}).json()["id"]
    asked = Route(route.method, route.path.format(change=change), route.allowed, route.body)

    allowed = {role for role in PEOPLE if not refused(session(person(role, role, world=world)), asked, "w1")}

    assert allowed == route.allowed


@pytest.mark.parametrize("route", SESSION_ROUTES, ids=lambda route: route.path)
def test_person_learns_nothing_of_a_foreign_world(world: World, gateway: Caller, route: Route) -> None:
    own = make_world("own")
    change = gateway.post("/worlds/w1/set-default", {"version": 1}).json()["id"]
    path = route.path.format(change=change)

    for role in PEOPLE:
        reply = call(session(person(role, role, world=own)), route, f"/worlds/w1{path}")

        assert (reply.status, reply.code) == (404, "world-not-found"), (role, reply.content)


def test_superuser_without_a_role_may_do_nothing(world: World) -> None:
    root = person("root")
    root.is_superuser = root.is_staff = True
    root.save()

    assert session(root).post("/worlds/w1/apply/a1/abort").code == "world-not-found"


def test_person_reads_nothing_through_the_api(world: World) -> None:
    signed_in = session(person("risk", "risk"))

    unlocked = [
        route for route in ROUTES if route.method == "GET" and signed_in.get(f"/worlds/w1{route.path}").status < 400
    ]

    assert unlocked == []


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health"])
def test_signs_of_life_need_nobody(path: str) -> None:
    assert nobody().get(path).status in {200, 503}


@pytest.mark.parametrize("path", ["/api/schema", "/worlds"])
def test_nothing_else_is_open(path: str) -> None:
    assert nobody().get(path).status == 401
