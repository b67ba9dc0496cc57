"""The tick's process: it outlives its database, and ends where a thread of it has died."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from worlds.management.commands import tick as command

pytestmark = pytest.mark.django_db


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Ask the process to end, as SIGTERM does."""
    handlers: dict[int, Callable[[], None]] = {}
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    monkeypatch.setattr(gc, "freeze", lambda: None)

    def ask() -> None:
        handlers[signal.SIGTERM]()

    return ask


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Both threads of the process live until this is set."""
    over = threading.Event()
    for name in ("start_relay", "start_carrying"):
        thread = threading.Thread(target=over.wait, daemon=True)
        thread.start()
        monkeypatch.setattr(command, name, lambda *_words, thread=thread, **_named: thread)
    yield over
    over.set()


def test_tick_outlives_a_database_that_is_away(
    stop: Callable[[], None], alive: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks: list[float] = []

    def tick(_memory: object) -> None:
        ticks.append(time.monotonic())
        if len(ticks) == 1:
            raise OperationalError("server closed the connection unexpectedly")
        stop()

    monkeypatch.setattr(command, "tick", tick)

    call_command("tick", every=0.01)

    assert len(ticks) == 2


def test_tick_ends_where_a_thread_has_died(
    stop: Callable[[], None], alive: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "tick", lambda _memory: alive.set())

    with pytest.raises(CommandError, match="thread of the tick has died"):
        call_command("tick", every=0.01)
