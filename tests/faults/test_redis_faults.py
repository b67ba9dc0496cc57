"""Redis is stopped, restarted empty, read-only, paused, full, and failed over to a replica that lags (I26)."""

from __future__ import annotations

import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from django.contrib.auth.models import User
from redis.backoff import NoBackoff
from redis.retry import Retry

from qmtl_worlds.contracts.errors import StoreUnavailableError
from qmtl_worlds.embedded import valkey
from tests.worlds.bus_steps import change, every_sequence, sequences, told
from tests.worlds.conftest import alice, bob, world
from tests.worlds.factories import act_of
from tests.worlds.steps import first_apply
from worlds.models import World
from worlds.selectors import position_of
from worlds.services.holds import freeze
from worlds.services.tick_memory import Memory
from worlds.stores import bus, redis_projection
from worlds.stores.redis_projection import active_key, read_copy
from worlds.work.tick import tick

__all__ = ["alice", "bob", "world"]
pytestmark = [pytest.mark.django_db, pytest.mark.fault, pytest.mark.slow]
LEASE_MS = 60_000


class Redis:
    """A server of our own that can go away, come back, and be another one."""

    def __init__(self, folder: Path, use: Callable[[redis.Redis], None]) -> None:
        self._folder, self._use = folder, use
        self.start()

    def start(self) -> None:
        self.server = valkey.start(self._folder)
        self.client = redis.Redis.from_url(
            self.server.url, decode_responses=True, retry=Retry(NoBackoff(), 0), socket_timeout=0.5
        )
        self.raw = redis.Redis.from_url(self.server.url)
        self._use(self.client)

    def stop(self) -> None:
        self.client.close()
        self.raw.close()
        self.server.stop()


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[redis.Redis], None]:
    """Let the product talk to this server from now on."""

    def use_client(client: redis.Redis) -> None:
        monkeypatch.setattr(redis_projection, "_client", lambda: client)
        monkeypatch.setattr(bus, "redis_client", lambda: client)

    return use_client


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="qwr") as name:
        yield Path(name)


@pytest.fixture
def store(folder: Path, use: Callable[[redis.Redis], None]) -> Iterator[Redis]:
    """The server in use."""
    server = Redis(folder / "one", use)
    yield server
    server.stop()


@pytest.fixture
def trading(world: World, alice: User, bob: User, store: Redis) -> World:
    """Generation 1 trades; its copy and its events are in Redis."""
    first_apply(world, alice, bob)
    World.objects.filter(pk=world.pk).update(lease_ms=LEASE_MS)
    world.refresh_from_db()
    return world


@pytest.fixture
def memory(trading: World) -> Memory:
    """A tick process that has ticked."""
    memory = Memory()
    tick(memory)
    return memory


def gates(world: World) -> set[object]:
    """Return how the copy shows gates; a server that refuses to be read, as a full Redis 7 does, shows none."""
    try:
        copy = read_copy(world.id)
    except StoreUnavailableError:
        return set()
    return set() if copy is None else {entry["gate"] for entry in copy.entries.values()}


def is_repaired(world: World, store: Redis) -> bool:
    world.refresh_from_db()
    copy = read_copy(world.id)
    in_place = copy is not None and copy.position == position_of(world)
    return in_place and sorted(set(sequences(told(store.raw, world)))) == every_sequence(world)


def test_redis_that_stops_and_comes_back_empty_is_whole_after_one_tick(
    trading: World, memory: Memory, store: Redis, alice: User
) -> None:
    store.stop()
    freeze(world_id=trading.id, act=act_of(alice))
    tick(memory)
    store.start()
    empty = read_copy(trading.id)

    tick(memory)

    assert empty is None
    assert gates(trading) == {"reduce_only"}
    assert is_repaired(trading, store)


def test_redis_that_has_no_memory_left_never_shows_an_open_gate_that_is_closed(
    trading: World, memory: Memory, store: Redis, alice: User
) -> None:
    freeze(world_id=trading.id, act=act_of(alice))
    store.client.config_set("maxmemory", "1")
    tick(memory)
    while_full = gates(trading)
    store.client.config_set("maxmemory", "0")

    tick(memory)

    assert while_full <= {"reduce_only"}
    assert is_repaired(trading, store)


def test_redis_that_is_stopped_in_its_tracks_holds_nobody_up_and_is_whole_afterwards(
    trading: World, memory: Memory, store: Redis, alice: User
) -> None:
    freeze(world_id=trading.id, act=act_of(alice))
    store.server.process.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    tick(memory)
    waited = time.monotonic() - started
    store.server.process.send_signal(signal.SIGCONT)

    tick(memory)

    assert waited < 20  # a try or two of half a second, on a machine that may be slow
    assert is_repaired(trading, store)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def follow(primary: Redis, replica: Redis) -> None:
    """Make the second a replica of the first, and wait until it has all."""
    port = free_port()
    for name, value in (("bind", "127.0.0.1"), ("port", port), ("repl-diskless-sync-delay", 0)):
        primary.client.config_set(name, value)
    replica.client.replicaof("127.0.0.1", port)
    until = time.monotonic() + 30
    while replica.client.info("replication")["master_link_status"] != "up":
        assert time.monotonic() < until, "the replica never came up"
        primary.client.blpop(["nothing"], timeout=0.05)


def test_failing_over_to_a_replica_that_lags_is_repaired_by_the_next_tick(
    trading: World, memory: Memory, store: Redis, alice: User, folder: Path, use: Callable[[redis.Redis], None]
) -> None:
    replica = Redis(folder / "two", lambda _client: None)
    try:
        follow(store, replica)
        replica.client.replicaof("NO", "ONE")  # from here on it lags
        freeze(world_id=trading.id, act=act_of(alice))
        change(trading, 3)
        tick(memory)
        use(replica.client)
        lagging = gates(trading)

        tick(memory)

        assert lagging == {"open"}  # a copy that is for display; it lives no longer than its lease
        assert gates(trading) == {"reduce_only"}
        assert is_repaired(trading, replica)
        assert 0 < replica.client.pttl(active_key(trading.id)) <= LEASE_MS
    finally:
        replica.stop()


def test_replica_that_only_reads_is_taken_for_redis_away(
    trading: World, memory: Memory, store: Redis, alice: User, folder: Path, use: Callable[[redis.Redis], None]
) -> None:
    replica = Redis(folder / "two", lambda _client: None)
    try:
        follow(store, replica)
        use(replica.client)
        freeze(world_id=trading.id, act=act_of(alice))
        tick(memory)
        use(store.client)

        tick(memory)

        assert is_repaired(trading, store)
    finally:
        replica.stop()
