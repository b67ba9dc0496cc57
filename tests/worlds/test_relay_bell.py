from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import redis
from django.db import InterfaceError

from worlds.work import relay
from worlds.work.relay import start_relay


def test_relay_thread_tells_of_each_world_that_it_hears_of_and_outlives_both_stores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped, heard = threading.Event(), []
    connections = iter([["w1"], None, ["lost"], [None, "w2"]])

    def play(*, idle_seconds: float) -> Iterator[str | None]:
        words = next(connections)
        if words is None:
            raise redis.ConnectionError("gone")
        yield from words

    def tell(*, world_ids: list[str]) -> bool:
        if world_ids == ["lost"]:
            raise InterfaceError("connection already closed")
        heard.extend(world_ids)
        if "w2" in heard:
            stopped.set()
        return True

    monkeypatch.setattr(relay, "listen", play)
    monkeypatch.setattr(relay, "relay_outbox", tell)
    monkeypatch.setattr(relay, "IDLE_SECONDS", 0.01)

    thread = start_relay(stopped)
    thread.join(timeout=30)

    assert not thread.is_alive()
    assert thread.daemon
    assert heard == ["w1", "w2"]
