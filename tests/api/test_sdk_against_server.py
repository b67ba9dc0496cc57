"""The SDK against a real server on a loopback port."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db.models import F
from pytest_django.live_server_helper import LiveServer

from qmtl_worlds.contracts.errors import PermissionDeniedError, PolicyInvalidError
from qmtl_worlds.sdk.client import Binding, WorldsClient
from qmtl_worlds.sdk.gate import OrderGate
from qmtl_worlds.sdk.runner import Runner, SubmitStatus
from qmtl_worlds.sdk.series import Series
from tests.api.callers import Caller, session
from tests.worlds.factories import LAST_CLOSE, POLICY, shell
from worlds.models import World
from worlds.services.tokens import create_token

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("run_worker_inline")]


Connect = Callable[[str], WorldsClient]


class Alpha:
    """A strategy with sixty daily returns."""

    def __init__(self, name: str, quality: float) -> None:
        self.binding = Binding(name, sector="tech")
        self._quality = quality

    def series(self) -> Series:
        closes = [int((LAST_CLOSE - timedelta(days=59 - day)).timestamp()) for day in range(60)]
        returns = [0.001 * self._quality + 0.01 * math.sin(1.3 * day + self._quality) for day in range(60)]
        return Series(closes, returns, leverage=[1.0] * 60)


@pytest.fixture
def connect(live_server: LiveServer) -> Iterator[Connect]:
    """Make clients with a new token of a role; they are closed at the end."""
    with ExitStack() as clients:

        def make(role: str) -> WorldsClient:
            token = create_token(role=role, name=role, act=shell())
            return clients.enter_context(WorldsClient(live_server.url, token.text, timeout_seconds=10))

        yield make


@pytest.fixture
def gateway(connect: Connect) -> WorldsClient:
    return connect("gateway")


@pytest.fixture
def running_world(gateway: WorldsClient, alice: User, approver: Caller, bob: User) -> str:
    """A world made through the API, whose policy a second person put in force."""
    gateway.create_world("w1", lease_ms=5000)
    World.objects.update(created_at=F("created_at") - timedelta(hours=1))  # older than any permission could be
    gateway.add_policy("w1", POLICY.format(world="w1", version=1))
    change = gateway.set_default_policy("w1", 1)
    decided = approver.post(f"/worlds/w1/policies/changes/{change['id']}/approve", {"reason": "looked at it"})
    assert decided.status == 200, decided.content
    return "w1"


def test_order_gate_opens_once_the_plan_is_approved(
    connect: Connect, gateway: WorldsClient, running_world: str, approver: Caller
) -> None:
    submitter = Runner(connect("submitter"))
    before = submitter.submit(Alpha("good", 3), world=running_world)
    submitter.submit(Alpha("bad", -3), world=running_world)
    gateway.evaluate(running_world, run_id="eval-1", as_of=LAST_CLOSE.isoformat(), record=True)
    plan = gateway.apply(running_world, run_id="apply-1", evaluation_run_id="eval-1")
    gate = OrderGate(connect("runner"), world_id=running_world, strategy_id="good", sides=["long"])
    gate.poll()
    waiting = gate.check("long")

    approver.post("/worlds/w1/apply/apply-1/approve", {"plan_hash": plan["plan_hash"]})
    gate.poll()

    assert before.status is SubmitStatus.PENDING
    assert (waiting.allowed, waiting.reason) == (False, "never_applied")
    assert gate.failure is None
    assert gate.check("long").allowed
    assert gate.check("long").weight == pytest.approx(0.3)
    after = submitter.submit(Alpha("good", 3), world=running_world)
    assert after.status is SubmitStatus.ACTIVE
    assert after.weight == pytest.approx(0.3)
    assert after.contribution is not None
    assert "good|long becomes active" in after.explanation
    assert submitter.submit(Alpha("bad", -3), world=running_world).status is SubmitStatus.REJECTED


def test_gate_polls_an_unchanged_activation_by_304_and_stays_informed(connect: Connect, running_world: str) -> None:
    client = connect("runner")
    first = client.activation(running_world, "good", "long")
    assert first.envelope is not None

    again = client.activation(running_world, "good", "long", known_etag=first.envelope.etag)

    assert again.envelope is None
    assert again.lease_ms > 0


def test_faults_of_a_policy_reach_the_caller_with_line_and_column(gateway: WorldsClient, running_world: str) -> None:
    text = (
        POLICY.format(world="w1", version=2)
        .replace("sharpe_30d >= 0.5", "sharp_30d >= 0.5")
        .replace("total: 3", "total: x")
    )

    with pytest.raises(PolicyInvalidError) as refused:
        gateway.add_policy(running_world, text)

    assert {(fault.path, fault.line) for fault in refused.value.faults} == {
        ("selection.gates.and[0]", 6),
        ("selection.topk.total", 8),
    }


def test_every_other_call_of_the_client_is_answered(
    connect: Connect, gateway: WorldsClient, running_world: str, alice: User
) -> None:
    Runner(connect("submitter")).submit(Alpha("good", 3), world=running_world)
    gateway.evaluate(running_world, run_id="eval-1", as_of=LAST_CLOSE.isoformat(), record=True)
    gateway.apply(running_world, run_id="apply-1")

    assert gateway.world(running_world)["policy_version"] == 1
    assert "policy version 1" in str(gateway.describe(running_world))
    assert gateway.set_roster(running_world, ["good"]) == {"strategies": ["good"]}
    assert gateway.decide(running_world)["topk"] == ["good|long"]
    assert gateway.explain(running_world, "good", "long", run_id="eval-1")["rank"] == 1
    assert gateway.apply_run(running_world, "apply-1")["phase"] == "awaiting_approval"
    assert gateway.generations(running_world)["generations"] == []
    assert gateway.active_set(running_world)["generation"] == 0
    assert gateway.set_gate(running_world, "freeze", reason="test")["holds"]
    assert gateway.audit(running_world, kind="gate.frozen")["events"]
    assert gateway.unbind(running_world, "good") == {"withdrawn": ["good|long"]}
    with pytest.raises(PermissionDeniedError):
        gateway.act_on_apply(running_world, "apply-1", "reject", reason="machines may not")


def test_health_names_what_is_away(gateway: WorldsClient) -> None:
    reply = session(User.objects.create_user("zed", email="z@example.org")).get("/health")

    assert reply.status == 503
    assert reply.json()["parts"]["tick"] == {"ok": False, "detail": "was never seen", "beat_at": None}
    assert reply.json()["parts"]["database"]["ok"]
    assert reply.json()["parts"]["redis"]["ok"]
