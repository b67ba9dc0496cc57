"""What one of QMTL's clients, or somebody with its token, can make the server do."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from strategies.models import ReportedMetric
from tests.api.callers import Caller, machine
from worlds.models import World
from worlds.services.compat import RESERVED
from worlds.stores.clock import database_now

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("run_worker_inline")]

MANY = 40
POLICY = {"policy": {"thresholds": {"sharpe": {"min": 0.5}}, "top_k": {"metric": "sharpe", "k": 2}}}
DAY = timedelta(days=1)


@pytest.fixture
def theirs() -> Caller:
    """A client with a world, a policy, and many strategies."""
    caller = machine("qmtl")
    caller.post("/worlds", {"id": "w1", "name": "One"})
    caller.post("/worlds/w1/policies", POLICY)
    caller.post("/worlds/w1/bindings", {"strategies": [f"s{number}" for number in range(MANY)]})
    return caller


def count(send: Callable[[], object]) -> int:
    with CaptureQueriesContext(connection) as queries:
        send()
    return len(queries)


def metrics(count: int, *, sharpe: float = 1.0) -> dict[str, object]:
    return {f"s{number}": {"returns": {"sharpe": sharpe}} for number in range(count)}


def test_metrics_of_many_cost_as_many_statements_as_of_one(theirs: Caller) -> None:
    theirs.post("/worlds/w1/evaluate", {"run_id": "r0", "metrics": metrics(MANY, sharpe=0.1)})

    one = count(lambda: theirs.post("/worlds/w1/evaluate", {"run_id": "r1", "metrics": metrics(1)}))
    many = count(lambda: theirs.post("/worlds/w1/evaluate", {"run_id": "r2", "metrics": metrics(MANY, sharpe=2.0)}))

    assert many <= one + 1
    assert ReportedMetric.objects.filter(value=2.0).count() == MANY


def test_metrics_of_somebody_unknown_store_nothing(theirs: Caller) -> None:
    told = theirs.post("/worlds/w1/evaluate", {"metrics": {**metrics(2), "stranger": {"sharpe": 1.0}}})

    assert (told.status, told.code) == (404, "strategy-not-found")
    assert not ReportedMetric.objects.exists()


def test_list_of_runs_is_bounded_in_length_and_in_statements(theirs: Caller) -> None:
    for number in range(3):
        theirs.post("/worlds/w1/evaluate", {"run_id": f"r{number}", "metrics": metrics(MANY, sharpe=number)})
    first = count(lambda: theirs.get("/worlds/w1/strategies/s1/runs/r0"))

    three = count(lambda: theirs.get("/worlds/w1/strategies/s1/runs"))

    assert three <= first + 2 * 6


@pytest.mark.parametrize("path", ["history", "evaluate", "apply", "activation"])
def test_body_that_is_too_long_is_refused(theirs: Caller, path: str) -> None:
    body = {"strategy_id": "s1", "run_id": "r1", "active": False, "note": "x" * 300_000}

    told = theirs.send("PUT" if path == "activation" else "POST", f"/worlds/w1/{path}", json.dumps(body).encode())

    assert (told.status, told.code) == (413, "body-too-large")


@pytest.mark.parametrize(
    "facts",
    [
        {"artifact": {"text": "\ud800"}},
        {"conformance_flags": {"nul": "\u0000"}},
        {"rows": -1},
        {"interval": 0},
        {"coverage_bounds": [1]},
        {"dataset_fingerprint": "x" * 201},
        {"as_of": "tomorrow"},
        {"as_of": "9999-12-31T23:59:59Z"},
    ],
)
def test_report_that_cannot_be_stored_is_refused_and_leaves_nothing(theirs: Caller, facts: dict[str, object]) -> None:
    told = theirs.post("/worlds/w1/history", {"strategy_id": "s1", **facts})

    assert told.status in {400, 422}, told.content
    assert RESERVED not in World.objects.get().metadata


def test_reports_that_are_remembered_are_bounded_together(theirs: Caller) -> None:
    for number in range(12):
        body = {"strategy_id": "s1", "node_id": f"n{number}", "artifact": {"text": "x" * 12_000}}
        assert theirs.post("/worlds/w1/history", body).status == 204

    entries = theirs.get("/worlds/w1/history").json()["entries"]

    assert [one["node_id"] for one in entries] == ["n7", "n8", "n9", "n10", "n11"]


def test_token_of_one_strategy_neither_tells_nor_learns_of_another(theirs: Caller) -> None:
    own = machine("submitter", strategies=("s1",))
    end = int(database_now().timestamp())
    bounds = {"coverage_bounds": [end - 86_400, end]}
    theirs.post("/worlds/w1/history", {"strategy_id": "s2", **bounds})

    mine = own.post("/worlds/w1/history", {"strategy_id": "s1", **bounds})
    other = own.post("/worlds/w1/history", {"strategy_id": "s2", **bounds})

    assert (mine.status, other.status) == (204, 404)
    assert [one["strategy_id"] for one in own.get("/worlds/w1/history").json()["entries"]] == ["s1"]
