"""The main loop over HTTP, with a worker and a tick in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.api.callers import Caller
from tests.journeys.processes import Server, serve
from tests.unit.embedded.waiting import eventually
from tests.worlds.factories import LAST_CLOSE
from worlds.models import World

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

PATIENT = {"prefer": "wait=10"}
AS_OF = LAST_CLOSE.isoformat()


@pytest.fixture
def server(redis_client: redis.Redis, tmp_path: Path) -> Iterator[Server]:
    with serve(tmp_path) as running:
        running.start("worker")
        running.start("tick")
        yield running


def soon(server: Server, caller: Caller, path: str, **expected: object) -> None:
    def is_so() -> bool:
        told = caller.get(path).json()
        return all(told[name] == value for name, value in expected.items())

    assert eventually(is_so, within_seconds=90), server.logs()


def test_questions_reach_the_workers_and_come_back_and_gates_open(
    server: Server, world: World, gateway: Caller, runner: Caller, approver: Caller
) -> None:
    soon(server, gateway, "/health", status="ok")

    dry = gateway.post("/worlds/w1/evaluate", {"as_of": AS_OF}, **PATIENT)
    recorded = gateway.post("/worlds/w1/evaluate", {"as_of": AS_OF, "run_id": "r1", "record": True}, **PATIENT)
    measured = gateway.get("/worlds/w1/strategies/good/metrics", **PATIENT)
    refused = gateway.post("/worlds/w1/evaluate", {"as_of": AS_OF, "metrics": {"nobody": {"sharpe_30d": 1}}}, **PATIENT)

    assert dry.json()["topk"] == recorded.json()["topk"] == ["better|long", "good|long"], server.logs()
    assert measured.json()["metrics"]["sample_days"]["status"] == "ok"
    assert (refused.status, refused.code) == (422, "input-invalid")

    plan = gateway.post("/worlds/w1/apply", {"run_id": "a1", "evaluation_run_id": "r1"}).json()["plan_hash"]
    approver.post("/worlds/w1/apply/a1/approve", {"plan_hash": plan})
    soon(server, gateway, "/worlds/w1/apply/a1", phase="completed")
    assert runner.get("/worlds/w1/activation?strategy_id=good").json()["active"] is True
