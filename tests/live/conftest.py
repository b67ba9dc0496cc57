from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from django.db import connection

from tests.live.asgi import django
from tests.worlds.conftest import alice, bob, waiting, world
from tests.worlds.factories import shell
from worlds.live import listener
from worlds.live.app import Live
from worlds.services.tokens import create_token

__all__ = ["alice", "bob", "waiting", "world"]
Headers = dict[str, str]


@pytest.fixture
def live(transactional_db: None, valkey_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """The live application of one web process, with its threads, whose listener notices a stop at once."""
    monkeypatch.setattr(listener, "IDLE_SECONDS", 0.02)
    live = Live(django)
    live.start()
    yield live
    live.stop()
    connection.close()


@pytest.fixture
def catch_up(live: Live) -> Callable[[], None]:
    """Wait until the keeper has looked at the rows once more."""

    def wait() -> None:
        done = threading.Event()
        live.keeper.everything_may_have_changed()
        live.keeper.submit(done.set)
        assert done.wait(10)

    return wait


@pytest.fixture
def runner(transactional_db: None) -> Headers:
    """The headers of a Runner."""
    return bearer("runner")


def bearer(role: str, *, strategies: tuple[str, ...] = (), worlds: tuple[str, ...] = ()) -> Headers:
    """Return the headers of a new token."""
    token = create_token(role=role, name=role, strategies=strategies, worlds=worlds, act=shell())
    return {"authorization": f"Bearer {token.text}"}
