"""QMTL's clients against a real server: web, worker and tick in processes of their own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from tests.api.qmtl_clients import ActivationManager, CommandLine, Gateway
from tests.journeys.processes import Server, serve
from tests.unit.embedded.waiting import eventually
from tests.worlds.factories import shell
from worlds.services.holds import freeze, unfreeze
from worlds.services.tokens import create_token
from worlds.stores.clock import database_now

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

PATIENCE_SECONDS = 3.0
"""Ten times what the real one waits: the machine that tests may be busy with other things."""
POLICY = {"policy": {"thresholds": {"sharpe": {"min": 0.5}}, "top_k": {"metric": "sharpe", "k": 2}}}
METRICS = {"s1": {"sharpe": 2.0}, "s2": {"sharpe": 1.0}}


@pytest.fixture
def server(redis_client: redis.Redis, tmp_path: Path) -> Iterator[Server]:
    with serve(tmp_path) as running:
        running.environment |= {"QW_DEV_OPEN": "1", "QW_TIME_SCALE": "30"}
        yield running


@pytest.fixture
def address(server: Server) -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        server.port = free.getsockname()[1]
    for name in ("web", "worker", "tick"):
        server.start(name)
    at = f"http://127.0.0.1:{server.port}"
    assert eventually(lambda: _is_well(at), within_seconds=120), server.logs()
    return at


@pytest.fixture
def gateway(address: str) -> Iterator[Gateway]:
    """A Gateway with a world ``w1`` whose two strategies have data of now."""
    token = create_token(role="qmtl", name="gateway", act=shell()).text
    client = Gateway(address, token, budget_seconds=PATIENCE_SECONDS)
    client.call("POST", "/worlds", json={"id": "w1", "lease_ms": 1000})
    client.call("POST", "/worlds/w1/policies", json=POLICY)
    client.call("POST", "/worlds/w1/bindings", json={"strategies": list(METRICS)})
    end = int(database_now().timestamp())
    for name in METRICS:
        client.call("POST", "/worlds/w1/history", json={"strategy_id": name, "coverage_bounds": [end - 3600, end]})
    yield client
    client.close()


def _is_well(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=1).status_code == 200
    except httpx.TransportError:
        return False


def applied(gateway: Gateway, run_id: str, **body: object) -> None:
    """Ask until the run is done, as a client that retries does."""

    def is_done() -> bool:
        told = gateway.call("POST", "/worlds/w1/apply", json={"run_id": run_id, **body}, name="POST apply")
        assert told.status_code in {200, 409}, told.text
        return told.status_code == 200 and bool(told.json()["phase"] == "completed")

    assert eventually(is_done, within_seconds=90)


def test_gateway_evaluates_applies_and_caches_within_its_budget(server: Server, gateway: Gateway) -> None:
    told = gateway.call("POST", "/worlds/w1/evaluate", json={"metrics": METRICS, "run_id": "e1"}, name="POST evaluate")
    assert told.status_code in {200, 202}, server.logs()

    applied(gateway, "a1", metrics=METRICS)

    opened = gateway.activation("w1", "s1", "long")
    again = gateway.activation("w1", "s1", "long")
    decided = [gateway.decide("w1") for _ in range(2)]
    assert opened == again
    assert (opened["active"], opened["weight"]) == (True, 0.5)
    assert gateway.not_modified == 1
    assert decided[0] == decided[1]
    assert (decided[0]["effective_mode"], decided[0]["ttl"]) == ("paper", "300s")
    assert len(gateway.seconds["GET decide"]) == 1

    server.kill("web")

    assert gateway.activation("w1", "s1", "long")["active"] is False


def test_activation_manager_follows_by_stream_and_by_polling(gateway: Gateway, address: str) -> None:
    applied(gateway, "a1", metrics=METRICS)
    manager = ActivationManager(address, gateway.token, world_id="w1", strategy_id="s1")
    try:
        manager.start()
        assert manager.started
        assert eventually(lambda: len(manager.frames) >= 2)
        assert (manager.allows("long"), manager.allows("short"), manager.weight("long")) == (True, False, 0.5)

        freeze(world_id="w1", act=shell())
        assert eventually(lambda: not manager.allows("long"))
        manager.poll()
        frozen = manager.allows("long")
        unfreeze(world_id="w1", act=shell())

        assert eventually(lambda: manager.allows("long"))
        assert frozen is False
        assert {frame["strategy_id"] for frame in manager.frames} == {"s1"}
    finally:
        manager.stop()


def test_command_line_creates_shows_applies_and_deletes_without_a_token(server: Server, address: str) -> None:
    qmtl = CommandLine(address)

    assert qmtl.run("create", "mine", policy="moderate") == "World 'mine' created with policy preset 'moderate'"
    assert "already" in qmtl.run("create", "mine", policy="sandbox") or qmtl.run("list") == "- mine (mine)"
    assert qmtl.run("list") == "- mine (mine)"
    shown = qmtl.run("info", "mine")
    assert "policy_preset: moderate" in shown
    assert "policy_human: n/a" not in shown
    assert qmtl.run("info", "nowhere").startswith("Error")
    assert qmtl.run("status", "mine") == "mine ACTIVE compute-only"

    end = int(database_now().timestamp())
    httpx.post(f"{address}/worlds/mine/bindings", json={"strategies": ["s1"]}, timeout=10)
    told = {"strategy_id": "s1", "coverage_bounds": [end - 3600, end]}
    httpx.post(f"{address}/worlds/mine/history", json=told, timeout=10)
    plan = {"activate": ["s1"], "deactivate": []}
    assert eventually(lambda: qmtl.run("apply", "mine", run_id="a1", plan=plan) == "a1 completed", within_seconds=90), (
        server.logs()
    )
    assert qmtl.run("status", "mine") == "mine ACTIVE paper"
    assert qmtl.run("delete", "mine").startswith("Error")

    away = {"activate": [], "deactivate": ["s1"]}
    assert eventually(lambda: qmtl.run("apply", "mine", run_id="a2", plan=away) == "a2 completed", within_seconds=90)
    assert qmtl.run("delete", "mine") == "World 'mine' deleted"
    assert qmtl.run("list") == ""
