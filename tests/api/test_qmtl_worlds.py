"""Worlds and policies as QMTL's clients know them."""

from __future__ import annotations

import json

import pytest

from tests.api.callers import Caller, machine
from worlds.models import PolicyVersion, World
from worlds.services.compat import NOTICE

pytestmark = pytest.mark.django_db

TOP = {"metric": "sharpe", "k": 2}


@pytest.fixture
def client_of_qmtl() -> Caller:
    return machine("qmtl")


@pytest.fixture
def theirs(client_of_qmtl: Caller) -> Caller:
    """A client whose world ``w1`` is there."""
    assert client_of_qmtl.post("/worlds", {"id": "w1", "name": "One"}).status == 201
    return client_of_qmtl


def test_world_of_a_qmtl_client_is_a_compatibility_world_on_paper(theirs: Caller) -> None:
    told = theirs.get("/worlds/w1").json()

    assert (told["id"], told["name"], told["compat"], told["mode"]) == ("w1", "One", "qmtl", "paper")
    assert told["world"]["id"] == "w1"
    assert "do not fail closed" in told["notice"]


def test_unknown_keys_of_a_world_are_echoed(theirs: Caller) -> None:
    extras = {"data": {"presets": [{"stream": "btc"}]}, "circuit_breaker": True}

    theirs.send("PUT", "/worlds/w1", json.dumps({"id": "w1", **extras, "description": None}).encode())

    for path in ("/worlds/w1", "/worlds/w1/describe"):
        told = theirs.get(path).json()
        assert told["data"] == extras["data"]
        assert told["circuit_breaker"] is True
        assert told["name"] == "One"


def test_world_may_come_as_yaml_under_its_key(client_of_qmtl: Caller) -> None:
    body = b"world:\n  id: w2\n  name: Two\n  data:\n    presets: [a]\n"

    made = client_of_qmtl.send("POST", "/worlds", body, "application/x-yaml")

    assert made.status == 201
    assert made.json()["data"] == {"presets": ["a"]}
    assert World.objects.get(pk="w2").name == "Two"


def test_same_world_again_is_the_same_and_another_one_is_a_conflict(theirs: Caller) -> None:
    again = theirs.post("/worlds", {"id": "w1", "name": "One"})
    other = theirs.post("/worlds", {"id": "w1", "name": "Another"})

    assert (again.status, other.status) == (200, 409)
    assert "detail" in other.json()


def test_worlds_come_as_a_bare_list_without_those_that_were_deleted(theirs: Caller) -> None:
    theirs.post("/worlds", {"id": "w2"})
    assert theirs.delete("/worlds/w2").status == 200

    assert [world["id"] for world in theirs.get("/worlds").json()] == ["w1"]


def test_other_callers_are_answered_as_ever(theirs: Caller, gateway: Caller) -> None:
    assert set(gateway.get("/worlds").json()) == {"worlds", "next_cursor"}
    assert "notice" not in gateway.get("/worlds/w1").json()
    assert gateway.post("/worlds", {"id": "w3"}).json()["compat"] == ""


def test_first_policy_is_in_force_at_once_and_described(theirs: Caller) -> None:
    preset = {"preset": "conservative", "preset_mode": "shared", "preset_version": None, "preset_overrides": None}

    stored = theirs.post("/worlds/w1/policies", preset)

    told = theirs.get("/worlds/w1/describe").json()
    assert stored.json()["version"] == told["default_policy_version"] == 1
    assert (told["policy_preset"], told["policy_preset_mode"]) == ("conservative", "shared")
    assert "reported.sharpe" in told["policy_human"]
    assert theirs.get("/worlds/w1/policies").json() == [{"version": 1}]


def test_description_for_others_begins_with_the_warning(theirs: Caller, gateway: Caller) -> None:
    theirs.post("/worlds/w1/policies", {"policy": {"top_k": TOP}})

    told = gateway.get("/worlds/w1/describe").json()["policy"]["text"]

    assert told.startswith(NOTICE)


def test_policy_that_is_sent_again_is_no_new_version(theirs: Caller) -> None:
    policy = {"policy": {"top_k": TOP}}
    versions = [theirs.post("/worlds/w1/policies", policy).json()["version"] for _ in range(2)]

    other = theirs.post("/worlds/w1/policies", {"policy": {"top_k": TOP, "thresholds": {"sharpe": {"min": 1}}}})

    assert versions == [1, 1]
    assert other.json()["version"] == 2
    assert World.objects.get().policy == PolicyVersion.objects.get(version=1)


def test_unknown_keys_of_a_policy_are_refused_with_their_path(theirs: Caller) -> None:
    refused = theirs.post("/worlds/w1/policies", {"policy": {"top_k": TOP, "thresholds": {"a": {"mim": 1}}}})

    assert refused.status == 422
    assert {fault["path"] for fault in refused.json()["faults"]} == {"thresholds.a.mim", "thresholds.a"}
    assert not PolicyVersion.objects.exists()


def test_dialect_as_yaml_and_its_lint_are_served_to_everybody(theirs: Caller, gateway: Caller) -> None:
    text = b"top_k: {metric: sharpe, k: 2}\n"

    linted = gateway.send("POST", "/worlds/w1/policies/lint", text, "application/yaml")
    stored = gateway.send("POST", "/worlds/w1/policies", text, "application/yaml")

    assert linted.json()["version"] == stored.json()["version"] == 1


def test_policy_and_preset_together_are_refused(theirs: Caller) -> None:
    assert theirs.post("/worlds/w1/policies", {"preset": "moderate", "policy": {"top_k": TOP}}).status == 422
    assert theirs.post("/worlds/w1/policies", {}).status == 422


def test_history_sets_how_far_data_reaches_and_twice_is_once(theirs: Caller) -> None:
    theirs.post("/worlds/w1/policies", {"policy": {"top_k": TOP}})
    theirs.post("/worlds/w1/bindings", {"strategies": [" s1 ", "s1"]})
    body = {
        "strategy_id": "s1",
        "node_id": "n1",
        "interval": 60,
        "coverage_bounds": [1_700_000_000, 1_700_003_600],
        "dataset_fingerprint": "f1",
        "anything": 1,
    }

    answers = [theirs.post("/worlds/w1/history", body).status for _ in range(2)]

    instance = World.objects.get().instances.get()
    assert answers == [204, 204]
    assert instance.data_end is not None
    assert int(instance.data_end.timestamp()) == 1_700_003_600
    assert instance.interval_seconds == 60
    page = theirs.get("/worlds/w1/history").json()
    assert (len(page["entries"]), page["latest"]["dataset_fingerprint"]) == (1, "f1")
    decided = theirs.get("/worlds/w1/decide")
    assert decided.json()["coverage_bounds"] == [1_700_000_000, 1_700_003_600]
    assert decided.headers["cache-control"] == "max-age=300"
    assert theirs.get("/worlds/w1/decide", if_none_match=decided.headers["etag"]).status == 304
    assert "qmtl.history" not in theirs.get("/worlds/w1").json()


@pytest.mark.parametrize("bounds", [[200, 100], [100, 99_999_999_999]])
def test_history_that_cannot_be_is_refused(theirs: Caller, bounds: list[int]) -> None:
    theirs.post("/worlds/w1/bindings", {"strategies": ["s1"]})

    refused = theirs.post("/worlds/w1/history", {"strategy_id": "s1", "coverage_bounds": bounds})

    assert refused.status == 422
    assert not World.objects.get().metadata


def test_subscription_names_where_to_listen_and_shows_no_secret(theirs: Caller) -> None:
    told = theirs.post("/events/subscribe", {"topics": ["activation"], "world_id": "w1", "strategy_id": "s1"})

    body = told.json()
    assert body["stream_url"] == "ws://testserver/ws/evt"
    assert set(body) == {"stream_url", "token", "topics", "expires_at", "fallback_url"}
    assert theirs.get("/events/jwks").status == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"world_id": "w1"}, 422),
        ({"world_id": "nowhere", "strategy_id": "s1"}, 404),
        ({"world_id": "w1", "strategy_id": "s1", "topics": ["queue"]}, 422),
        ({"world_id": "w1", "topics": ["policy"]}, 200),
    ],
)
def test_subscription_needs_a_strategy_and_a_world(theirs: Caller, body: dict[str, object], status: int) -> None:
    assert theirs.post("/events/subscribe", body).status == status
