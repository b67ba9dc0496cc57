from __future__ import annotations

import pytest
import redis
from django.conf import settings
from django.contrib.auth.models import User

from tests.worlds.bus_steps import age, asked, change, every_sequence, sequences, told
from tests.worlds.factories import shell
from tests.worlds.steps import first_apply
from worlds.models import OutboxEvent, Relay, World
from worlds.selectors import position_of
from worlds.services.event_log import Events, Snapshot, events_since
from worlds.services.relay import compact_outbox, relay_outbox
from worlds.services.restore import fence_world
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db


@pytest.fixture
def trading(world: World, alice: User, bob: User, redis_client: redis.Redis) -> World:
    """Generation 1 trades after a busy first day; nothing was relayed yet, Redis is there and empty."""
    first_apply(world, alice, bob)
    world.refresh_from_db()
    return world


@pytest.mark.parametrize(("keep", "aged", "left"), [(3, 10, 11), (20, 40, 29), (3, 0, 1)])
def test_rows_go_only_once_they_are_neither_among_the_last_nor_young(
    trading: World, monkeypatch: pytest.MonkeyPatch, keep: int, aged: int, left: int
) -> None:
    change(trading, 48 - trading.sequence)
    monkeypatch.setattr(settings, "OUTBOX_KEEP", keep)
    age(trading, aged)
    relay_outbox()

    compact_outbox(now=database_now())

    kept = OutboxEvent.objects.filter(world=trading).order_by("sequence").values_list("sequence", flat=True)
    assert list(kept) == list(range(left, 49))
    assert Relay.objects.get(world=trading).compacted == left - 1


def test_rows_that_were_not_relayed_stay(trading: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "OUTBOX_KEEP", 1)
    relay_outbox()
    through = trading.sequence
    change(trading, 10)
    age(trading, through + 10)

    compact_outbox(now=database_now())

    oldest = OutboxEvent.objects.filter(world=trading).order_by("sequence").values_list("sequence", flat=True)[0]
    assert oldest == through + 1


def test_wiped_bus_is_told_from_the_oldest_row_that_is_kept(
    trading: World, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "OUTBOX_KEEP", 5)
    age(trading, trading.sequence)
    relay_outbox()
    compact_outbox(now=database_now())
    redis_client.flushall()

    relay_outbox()

    assert sorted(sequences(told(redis_client, trading))) == every_sequence(trading)[-5:]


def test_log_goes_on_from_any_kept_sequence(trading: World) -> None:
    newest = trading.sequence

    answers = [asked(trading, newest), asked(trading, newest - 3), asked(trading, 0, limit=2)]

    counted = [[event.sequence for event in answer.events] for answer in answers if isinstance(answer, Events)]
    assert counted == [[], [newest - 2, newest - 1, newest], [1, 2]]


@pytest.mark.parametrize("lost", ["compacted", "future", "negative", "other incarnation"])
def test_log_that_cannot_go_on_answers_with_the_whole_state(
    trading: World, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    monkeypatch.setattr(settings, "OUTBOX_KEEP", 5)
    age(trading, trading.sequence)
    relay_outbox()
    compact_outbox(now=database_now())
    newest = trading.sequence
    questions = {
        "compacted": {"sequence": newest - 6},
        "future": {"sequence": newest + 1},
        "negative": {"sequence": -1},
        "other incarnation": {"sequence": newest, "incarnation": 2},
    }

    answer = events_since(world_id=trading.id, **questions[lost])

    assert isinstance(answer, Snapshot)
    assert answer.state.world.position == position_of(trading)
    assert {envelope.strategy_id for envelope in answer.state.envelopes} == {"good", "better", "bad"}
    assert isinstance(asked(trading, newest - 5), Events)


def test_log_says_in_which_incarnation_each_event_was_told(trading: World) -> None:
    relay_outbox()
    before = trading.sequence
    fence = fence_world(world_id=trading.id, act=shell())

    answer = asked(trading, before - 1)

    assert isinstance(answer, Events)
    assert [(event.incarnation, event.sequence) for event in answer.events] == [
        (1, before),
        (fence.incarnation, before + 1),
    ]
