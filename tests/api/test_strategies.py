from __future__ import annotations

import gzip
import json
from array import array
from datetime import UTC, datetime, timedelta

import pytest

from strategies.models import StrategyInstance
from tests.api.callers import Caller, machine
from tests.worlds.factories import make_world
from worlds.models import World

FIRST = datetime(2026, 3, 2, tzinfo=UTC)
TIMES = [(FIRST + timedelta(days=day)).isoformat().replace("+00:00", "Z") for day in range(3)]
RETURNS = [0.01, -0.02, 0.0]
PUSH = "/worlds/w1/strategies/s1/returns"

pytestmark = pytest.mark.django_db


@pytest.fixture
def submitter() -> Caller:
    return machine("submitter")


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def bound(world: World, submitter: Caller) -> Caller:
    submitter.post("/worlds/w1/bindings", {"strategies": ["s1"]})
    return submitter


def test_strings_bind_the_long_side_trimmed_once_and_in_order(world: World, submitter: Caller) -> None:
    reply = submitter.post("/worlds/w1/bindings", {"strategies": [" s2 ", "s1", "s2"]})

    assert reply.json()["strategies"] == ["s2", "s1"]
    assert reply.json()["bound"] == ["s2|long", "s1|long"]
    assert submitter.get("/worlds/w1/bindings").json()["strategies"] == ["s2", "s1"]


def test_binding_carries_side_params_sector_and_tags(world: World, submitter: Caller) -> None:
    one = {"strategy_id": "s1", "side": "short", "params": {"fast": 5}, "sector": "tech", "tags": ["a"]}

    submitter.post("/worlds/w1/bindings", {"strategies": [one]})

    (instance,) = submitter.get("/worlds/w1/bindings").json()["instances"]
    assert {name: instance[name] for name in one} == one


def test_other_params_make_a_new_instance(bound: Caller) -> None:
    reply = bound.post("/worlds/w1/bindings", {"strategies": [{"strategy_id": "s1", "params": {"fast": 9}}]})

    assert (reply.json()["rebound"], reply.json()["unchanged"]) == (["s1|long"], [])


def test_unbound_strategy_is_gone_and_unbinding_it_again_is_not_found(bound: Caller) -> None:
    assert bound.delete("/worlds/w1/bindings/s1").json() == {"withdrawn": ["s1|long"]}

    assert bound.get("/worlds/w1/bindings").json()["instances"] == []
    assert bound.delete("/worlds/w1/bindings/s1").code == "strategy-not-found"


def test_roster_is_replaced_and_extras_are_refused(bound: Caller) -> None:
    assert bound.get("/worlds/w1/decisions").json() == {"strategies": None}

    assert bound.post("/worlds/w1/decisions", {"strategies": ["s2", "s2"]}).json() == {"strategies": ["s2"]}

    extra = bound.post("/worlds/w1/decisions", {"strategies": [], "more": 1})
    assert (extra.status, extra.json()["field"]) == (422, "more")
    assert bound.get("/worlds/w1/bindings").json()["instances"][0]["wanted"] is False


@pytest.mark.parametrize(
    ("body", "content_type", "headers"),
    [
        (json.dumps([{"ts": ts, "ret": ret} for ts, ret in zip(TIMES, RETURNS, strict=True)]), "application/json", {}),
        (json.dumps({"ts": TIMES, "ret": RETURNS}), "application/json; charset=utf-8", {}),
        (
            "\n".join(json.dumps({"ts": ts, "ret": ret}) for ts, ret in zip(TIMES, RETURNS, strict=True)),
            "application/x-ndjson",
            {},
        ),
        (
            gzip.compress(json.dumps({"ts": TIMES, "ret": RETURNS}).encode()),
            "application/json",
            {"content_encoding": "gzip"},
        ),
        (
            array("d", [*((FIRST.timestamp() + 86400 * day) for day in range(3)), *RETURNS]).tobytes(),
            "application/octet-stream",
            {},
        ),
    ],
    ids=["rows", "columns", "ndjson", "gzip", "raw"],
)
def test_returns_come_in_in_every_form_and_the_same_again_change_nothing(
    bound: Caller, body: str | bytes, content_type: str, headers: dict[str, str]
) -> None:
    data = body.encode() if isinstance(body, str) else body

    first = bound.send("POST", PUSH, data, content_type, **headers)
    again = bound.send("POST", PUSH, data, content_type, **headers)

    assert first.status == 200, first.content
    assert (first.json()["appended"], again.json()["appended"], again.json()["unchanged"]) == (3, 0, 3)
    assert (first.json()["provenance"], first.json()["data_end"]) == ("paper", TIMES[-1])


@pytest.mark.parametrize(("mode", "provenance"), [("replay", "backtest"), ("shadow", "paper"), ("live", "live")])
def test_provenance_follows_from_the_world(submitter: Caller, mode: str, provenance: str) -> None:
    make_world("w2", mode=mode)
    submitter.post("/worlds/w2/bindings", {"strategies": ["s1"]})

    reply = submitter.post("/worlds/w2/strategies/s1/returns", {"ts": TIMES, "ret": RETURNS})

    assert reply.json()["provenance"] == provenance


@pytest.mark.parametrize("mode", ["live", "paper", "replay"])
def test_token_made_for_backtests_pushes_backtests_into_any_world(submitter: Caller, mode: str) -> None:
    make_world("w2", mode=mode)
    submitter.post("/worlds/w2/bindings", {"strategies": ["s1"]})
    bars = {"ts": TIMES, "ret": RETURNS}

    backtest = machine("submitter", provenance="backtest").post("/worlds/w2/strategies/s1/returns", bars)
    stored = StrategyInstance.objects.get().tracks.values_list("provenance", flat=True)

    assert (backtest.json()["provenance"], list(stored)) == ("backtest", ["backtest"])


def test_body_has_no_say_in_the_provenance(bound: Caller) -> None:
    reply = bound.post(PUSH, {"ts": TIMES, "ret": RETURNS, "provenance": "live"})

    assert reply.status == 422


def test_contradicting_bar_is_a_conflict_until_it_is_a_revision(bound: Caller) -> None:
    bound.post(PUSH, {"ts": TIMES, "ret": RETURNS})

    refused = bound.post(PUSH, {"ts": TIMES[:1], "ret": [0.5]})
    revised = bound.post(PUSH, {"ts": TIMES[:1], "ret": [0.5], "revise": True})

    assert (refused.status, refused.code, refused.json()["row"]) == (409, "series-conflict", 0)
    assert revised.json()["revised"] == 1


@pytest.mark.parametrize(
    ("body", "row"),
    [
        ({"ts": TIMES[::-1], "ret": RETURNS}, 1),
        ({"ts": [TIMES[0], "2999-01-01T00:00:00Z"], "ret": [0, 0]}, 1),
        ({"ts": TIMES, "equity": [1, 0, 1]}, 1),
        ([{"ts": TIMES[0], "ret": 0.1}, {"ts": TIMES[1], "pnl": 5}], 1),
        ([{"ts": TIMES[0], "ret": 0.1}, {"ts": "yesterday", "ret": 0.1}], 1),
        ([{"ts": TIMES[0], "ret": -1.5}], 0),
    ],
    ids=["descending", "future", "equity", "mixed", "no time", "below total loss"],
)
def test_row_that_cannot_be_stored_is_named_and_nothing_is_stored(bound: Caller, body: object, row: int) -> None:
    reply = bound.post(PUSH, body)

    assert (reply.status, reply.code, reply.json()["row"]) == (422, "series-invalid", row)
    assert StrategyInstance.objects.get().data_end is None


def test_unzipped_size_is_bounded(bound: Caller) -> None:
    bomb = gzip.compress(b" " * 20_000_000)

    reply = bound.send("POST", PUSH, bomb, content_encoding="gzip")

    assert len(bomb) < 100_000
    assert (reply.status, reply.code) == (413, "body-too-large")


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [(b"no gzip", "gzip", 400), (gzip.compress(b"[]")[:-4], "gzip", 400), (b"[]", "br", 415)],
)
def test_broken_encodings_are_refused(bound: Caller, body: bytes, encoding: str, status: int) -> None:
    assert bound.send("POST", PUSH, body, content_encoding=encoding).status == status


def test_side_must_be_named_where_both_are_bound(bound: Caller) -> None:
    bound.post("/worlds/w1/bindings", {"strategies": [{"strategy_id": "s1", "side": "short"}]})

    unnamed = bound.post(PUSH, {"ts": TIMES, "ret": RETURNS})
    named = bound.post(f"{PUSH}?side=short", {"ts": TIMES, "ret": RETURNS})

    assert (unnamed.status, unnamed.json()["field"]) == (422, "side")
    assert named.json()["side"] == "short"


def test_token_of_one_strategy_touches_and_sees_no_other(world: World, bound: Caller) -> None:
    limited = machine("submitter", strategies=("s2",))

    limited_bind = limited.post("/worlds/w1/bindings", {"strategies": ["s2"]})

    assert limited_bind.status == 200
    assert limited.get("/worlds/w1/bindings").json()["strategies"] == ["s2"]
    assert limited.post(PUSH, {"ts": TIMES, "ret": RETURNS}).code == "strategy-not-found"
    assert limited.post("/worlds/w1/bindings", {"strategies": ["s1"]}).code == "strategy-not-found"
    assert limited.delete("/worlds/w1/bindings/s1").code == "strategy-not-found"
    assert limited.post("/worlds/w1/decisions", {"strategies": ["s2"]}).code == "permission-denied"


def test_audit_is_for_tokens_of_every_strategy(world: World) -> None:
    assert machine("gateway").get("/worlds/w1/audit").status == 200
    assert machine("gateway", strategies=("s1",)).get("/worlds/w1/audit").code == "permission-denied"


def test_reported_metrics_are_stored_once(bound: Caller) -> None:
    told = {"as_of": TIMES[0], "metrics": {"slippage": 1.5, "reported.fill": 0.9}}

    first = bound.post("/worlds/w1/strategies/s1/metrics", told)
    again = bound.post("/worlds/w1/strategies/s1/metrics", told)
    other = bound.post("/worlds/w1/strategies/s1/metrics", {**told, "metrics": {"slippage": 2}})

    assert (first.json()["stored"], again.json()["unchanged"]) == (2, 2)
    assert (other.status, other.code) == (409, "series-conflict")
