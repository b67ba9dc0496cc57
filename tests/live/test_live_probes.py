"""Signs of life, digests and counts, from memory."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from prometheus_client.parser import text_string_to_metric_families

from tests.api.callers import machine, nobody
from tests.live.asgi import NOT_HOT, ask
from tests.live.conftest import Headers, bearer
from tests.worlds.factories import act_of
from tests.worlds.steps import first_apply
from worlds.live.app import Live
from worlds.live.counts import Books
from worlds.live.metrics import LiveCollector, registry_of, text_of
from worlds.live.store import LiveStore
from worlds.models import ApplyRun, World
from worlds.services.approvals import reject
from worlds.stores.clock import database_now

GOOD = "/worlds/w1/activation?strategy_id=good&side=long"
ROOT = Path(__file__).resolve().parents[2]
MINUTE = timedelta(minutes=1)
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


def test_metrics_are_those_of_the_reference(live: Live, trading: World) -> None:
    told = ask(live, "/metrics", **bearer("gateway")).body.decode()

    ours = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in text_string_to_metric_families(told)
        if not family.name.startswith(("process_", "python_"))
    }
    page = (ROOT / "docs" / "reference" / "monitoring.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z_]+)` \| (?:counter|gauge) \|", page, flags=re.MULTILINE)) == ours


@pytest.mark.django_db
def test_metrics_count_the_planned_changes_of_runs_that_failed(waiting: ApplyRun, bob: User) -> None:
    books = Books()
    books.failures.look(["w1"], now=database_now())
    reject(world_id="w1", run_id=waiting.run_id, act=act_of(bob))
    for minute in (1, 2):  # what was counted is not counted again
        books.failures.look(["w1"], now=database_now() + minute * MINUTE)

    told = text_of(registry_of(LiveCollector(books, LiveStore()))).decode()

    assert 'promotion_fail_total{world_id="w1"} 1.0' in told
    assert 'demotion_fail_total{world_id="w1"} 1.0' in told


def test_metrics_are_for_those_who_may_read_every_world(live: Live, trading: World) -> None:
    assert ask(live, "/metrics").status == NOT_HOT
    assert ask(live, "/metrics", **bearer("gateway", worlds=("w1",))).status == NOT_HOT
