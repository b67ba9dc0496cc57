"""Signs of life, digests and counts, from memory."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from prometheus_client.parser import text_string_to_metric_families

from tests.api.callers import machine, nobody
from tests.live.asgi import NOT_HOT, ask
from tests.live.conftest import Headers, bearer
from tests.worlds.steps import first_apply
from worlds.live.app import Live
from worlds.models import World

GOOD = "/worlds/w1/activation?strategy_id=good&side=long"
CatchUp = Callable[[], None]


@pytest.fixture
def trading(world: World, alice: User, bob: User) -> World:
    """A world whose first set is applied."""
    first_apply(world, alice, bob)
    return world


def test_signs_of_life_are_those_of_the_rows(live: Live, catch_up: CatchUp) -> None:
    catch_up()

    for path in ("/livez", "/readyz"):
        answer = ask(live, path, x_request_id="mine")

        assert (answer.status, answer.json()) == (200, nobody().get(path).json())
        assert answer.headers["x-request-id"] == "mine"


def test_process_whose_database_is_silent_is_alive_and_not_ready(live: Live, catch_up: CatchUp) -> None:
    catch_up()
    live.keeper.stop()
    live.keeper.confirmed_at = -math.inf

    assert [ask(live, path).status for path in ("/livez", "/readyz")] == [200, 503]


@pytest.mark.parametrize("subject", ["activation", "policy"])
def test_state_hash_from_memory_is_that_of_the_rows(live: Live, trading: World, runner: Headers, subject: str) -> None:
    path = f"/worlds/w1/{subject}/state_hash"

    assert ask(live, path, **runner).json() == machine("runner").get(path).json()


def test_state_hash_that_is_not_confirmed_is_left_to_the_rows(live: Live, trading: World, runner: Headers) -> None:
    ask(live, GOOD, **runner)
    live.keeper.stop()
    held = live.store.worlds["w1"]
    held.confirmed = type(held.confirmed)(held.confirmed.snapshot, -math.inf)

    assert ask(live, "/worlds/w1/activation/state_hash", **runner).status == NOT_HOT


def test_metrics_tell_answers_confirmations_and_refusals(live: Live, trading: World) -> None:
    gateway = bearer("gateway")
    etag = ask(live, GOOD, **gateway).headers["etag"]
    ask(live, GOOD, **gateway, if_none_match=etag)

    told = ask(live, "/metrics", **gateway).body.decode()

    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(told)
        for sample in family.samples
    }
    assert samples["live_answers_total", "200", "activation"] == 1
    assert samples["live_answers_total", "304", "activation"] == 1
    assert 0 <= samples["live_confirmation_age_seconds", "w1"] < 5
    assert samples["live_streams", "w1"] == 0


def test_metrics_are_for_those_who_may_read_every_world(live: Live, trading: World) -> None:
    assert ask(live, "/metrics").status == NOT_HOT
    assert ask(live, "/metrics", **bearer("gateway", worlds=("w1",))).status == NOT_HOT
