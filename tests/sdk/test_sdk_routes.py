"""Each call of the client goes to the route that the API names."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from qmtl_worlds.sdk.client import WorldsClient
from qmtl_worlds.sdk.transport import Reply, Request

Say = Callable[[WorldsClient], object]


class Recorder:
    """Answers every request with an empty object."""

    def __init__(self) -> None:
        self.sent: list[Request] = []

    def send(self, request: Request) -> Reply:
        self.sent.append(request)
        return Reply(200, {}, b'{"lease_ms": 1000}', sent_at=0.0)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("call", "route"),
    [
        (lambda client: client.health(), "GET /health"),
        (lambda client: client.create_world("w"), "POST /worlds"),
        (lambda client: client.world("w"), "GET /worlds/w"),
        (lambda client: client.describe("w"), "GET /worlds/w/describe"),
        (lambda client: client.add_policy("w", "world: w"), "POST /worlds/w/policies"),
        (lambda client: client.set_default_policy("w", 2), "POST /worlds/w/set-default"),
        (lambda client: client.bind("w", []), "POST /worlds/w/bindings"),
        (lambda client: client.bindings("w"), "GET /worlds/w/bindings"),
        (lambda client: client.lease_seconds("w"), "GET /worlds/w"),
        (lambda client: client.unbind("w", "s@1", side="short"), "DELETE /worlds/w/bindings/s%401?side=short"),
        (lambda client: client.set_roster("w", ["s"]), "POST /worlds/w/decisions"),
        (lambda client: client.metrics("w", "s"), "GET /worlds/w/strategies/s/metrics?side=long"),
        (lambda client: client.evaluate("w"), "POST /worlds/w/evaluate"),
        (
            lambda client: client.decide("w", as_of=datetime(2012, 1, 3, tzinfo=UTC)),
            "GET /worlds/w/decide?as_of=2012-01-03T00%3A00%3A00%2B00%3A00",
        ),
        (lambda client: client.explain("w", "s", "long"), "GET /worlds/w/explain?strategy_id=s&side=long"),
        (lambda client: client.apply("w"), "POST /worlds/w/apply"),
        (lambda client: client.apply_run("w", "r:1"), "GET /worlds/w/apply/r%3A1"),
        (lambda client: client.act_on_apply("w", "r", "abort", reason="x"), "POST /worlds/w/apply/r/abort"),
        (lambda client: client.rollback("w", to_generation=1, reason="x"), "POST /worlds/w/rollback"),
        (lambda client: client.generations("w"), "GET /worlds/w/generations"),
        (lambda client: client.generation("w", 3), "GET /worlds/w/generations/3"),
        (lambda client: client.audit("w", kind="apply"), "GET /worlds/w/audit?kind=apply"),
        (lambda client: client.set_gate("w", "kill", reason="x"), "POST /worlds/w/kill"),
        (lambda client: client.active_set("w"), "GET /worlds/w/activation"),
    ],
)
def test_call_goes_to_its_route(call: Say, route: str) -> None:
    recorder = Recorder()

    call(WorldsClient("http://127.0.0.1:1", "token", transport=recorder))

    assert [f"{request.method} {request.target}" for request in recorder.sent] == [route]


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.apply("w"),
        lambda client: client.evaluate("w"),
        lambda client: client.rollback("w", to_generation=1, reason="x"),
    ],
)
def test_run_without_an_id_is_given_a_new_one(call: Say) -> None:
    recorder = Recorder()
    client = WorldsClient("http://127.0.0.1:1", "token", transport=recorder)

    call(client)
    call(client)

    ids = [json.loads(request.body or b"")["run_id"] for request in recorder.sent]
    assert len(set(ids)) == 2
    assert all(len(run_id) > 30 for run_id in ids)
