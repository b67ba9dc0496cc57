"""Threads of the tick connect by themselves, in place of the pool."""

from __future__ import annotations

import threading
from functools import partial

import pytest
from django.db import connections

from qmtl_worlds.own_connection import no_pool
from worlds.models import World
from worlds.work import live_runs, relay
from worlds.work.live_runs import start_carrying
from worlds.work.relay import start_relay

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.postgres
def test_own_connection_takes_the_pools_place_and_gives_it_back_closed() -> None:
    pooled = connections["default"]

    with no_pool():
        own = connections["default"]
        assert World.objects.count() == 0
        assert own is not pooled
        assert "pool" not in own.settings_dict["OPTIONS"]
        assert own.settings_dict["OPTIONS"]["connect_timeout"] == 3
        assert pooled.connection is None

    assert connections["default"] is pooled
    assert own.connection is None


def test_without_a_pool_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = connections["default"]
    monkeypatch.delitem(before.settings_dict["OPTIONS"], "pool", raising=False)

    with no_pool():
        assert connections["default"] is before


@pytest.mark.postgres
def test_threads_of_the_tick_leave_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped, pooled = threading.Event(), []

    def look(*_words: object, **_named: object) -> list[str]:
        pooled.append("pool" in connections["default"].settings_dict["OPTIONS"])
        stopped.set()
        return []

    monkeypatch.setattr(live_runs, "close_restored", lambda **_words: None)
    monkeypatch.setattr(live_runs, "carry_on", look)
    monkeypatch.setattr(relay, "listen", look)

    for start in (partial(start_carrying, every=0.01), start_relay):
        stopped.clear()
        start(stopped).join(timeout=30)

    assert pooled == [False, False]
