"""Faults that strike anything at any time while worlds live: processes, Redis, the broker, PostgreSQL."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import Any, Final

import psycopg
import redis
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from torture.disk import SmallDisk
from torture.servers import Servers
from torture.stage import Stage, StoppedError
from worlds.services.dispatch import ADVANCE, EVALUATE, ring
from worlds.stores.redis_projection import active_key

Fault = Callable[[], object]
LONGEST_LEASES: Final = 3.0
"""How long a fault lasts at most, in leases."""

LOG_SHARE: Final = 0.4
LOG_FILES: Final = 12
"""More than PostgreSQL keeps ready for its log."""
TAKEN_SECONDS: Final = (1.0, 3.0)
"""For how long all connections are taken."""


class Weather:
    """Strikes every now and then; after each fault everything is put right again."""

    def __init__(
        self, stage: Stage, servers: Servers, worlds: Sequence[str], seed: str, *, only: Sequence[str] = ()
    ) -> None:
        """Throw dice of its own; where ``only`` names faults there are no others."""
        self._only = frozenset(only)
        self._stage, self._servers, self._worlds = stage, servers, list(worlds)
        self._dice = random.Random(f"{seed}/weather")  # noqa: S311 - no secret
        self._dump = stage.folder / "old.rdb"

    def strike(self) -> None:
        """Inject one fault and put it right again.

        Call it from the main thread: servers die with the thread that starts them.
        """
        faults = [fault for fault in self._faults() if not self._only or fault[0] in self._only]
        name, fault = self._dice.choice(faults)
        self._stage.tally.fault(name)
        with suppress(redis.RedisError, DatabaseError, InterfaceError, StoppedError):
            fault()

    def _faults(self) -> list[tuple[str, Fault]]:
        standing = self._stage.standing.names()
        faults: list[tuple[str, Fault]] = [
            *((f"stopped and continued: {name}", partial(self._stop, name)) for name in standing),
            *((f"killed and restarted: {name}", partial(self._kill, name)) for name in standing),
            ("a second and a third tick", self._more_ticks),
            ("messages forged and doubled", self._forge_messages),
            ("messages lost", lambda: self._redis(1).flushdb()),
            ("Redis wiped", lambda: self._redis(0).flushall()),
            ("Redis dies, comes back empty", self._restart_redis),
            ("Redis dies, comes back with old data (as a stale replica would)", self._redis_of_old),
            ("Redis out of memory", self._fill_redis),
            ("Redis read-only", self._demote_redis),
            ("Redis paused", lambda: self._redis(0).client_pause(int(self._length() * 1000))),
            ("wrong type at the copy's key", self._spoil_key),
        ]
        if self._servers.database.disk is not None:
            faults.append(("disk full", partial(self._fill_disk, self._servers.database.disk)))
        if self._servers.database.vendor == "postgres":
            faults += [
                ("PostgreSQL stopped at once and started again", self._crash_postgres),
                ("a world's row locked by a client that sleeps", self._hold_lock),
                ("slow commits", self._slow_commits),
                ("connections cut", self._cut_connections),
                ("every connection taken", self._take_connections),
            ]
        return faults

    def _length(self) -> float:
        return self._dice.uniform(0.2, LONGEST_LEASES) * self._stage.lease_seconds

    def _stop(self, name: str) -> None:
        stopped = self._stage.standing.named(name)[:1]
        for child in stopped:
            child.signal(signal.SIGSTOP)
        time.sleep(self._length())
        for child in stopped:
            child.signal(signal.SIGCONT)

    def _kill(self, name: str) -> None:
        self._stage.standing.kill(name)
        time.sleep(self._dice.uniform(0, self._stage.lease_seconds))
        self._stage.standing.start(name)

    def _more_ticks(self) -> None:
        more = [self._stage.children.start("tick", every=0.1) for _ in range(2)]
        time.sleep(self._length())
        for child in more:
            child.kill()

    def _forge_messages(self) -> None:
        """Ring for runs that are over, that never were, and in words that mean nothing."""
        world = self._dice.choice(self._worlds)
        for number in range(1, 4):
            ring(task=ADVANCE, queue="control", world_id=world, run_id=f"{world}-{number}")
        ring(task=ADVANCE, queue="control", world_id=world, run_id="never-was")
        ring(task=ADVANCE, queue="control", world_id="no-world", run_id="never-was", generation=10**6)
        ring(task=EVALUATE, queue="compute", world_id=world, run_id="never-was")

    def _restart_redis(self) -> None:
        self._servers.cache.crash()
        time.sleep(self._length())
        self._servers.cache.start_again()

    def _redis_of_old(self) -> None:
        client = self._redis(0)
        client.save()
        shutil.copy(self._servers.cache.dump, self._dump)
        time.sleep(self._length())
        self._servers.cache.crash()
        self._servers.cache.start_again(dump=self._dump)

    def _fill_redis(self) -> None:
        self._redis(0).config_set("maxmemory", "1mb")
        time.sleep(self._length())
        self._redis(0).config_set("maxmemory", "0")

    def _demote_redis(self) -> None:
        self._redis(0).replicaof("127.0.0.1", 1)
        time.sleep(self._length())
        self._redis(0).replicaof("NO", "ONE")

    def _spoil_key(self) -> None:
        self._redis(0).set(active_key(self._dice.choice(self._worlds)), "no hash")

    def _crash_postgres(self) -> None:
        self._servers.database.crash()
        time.sleep(self._dice.uniform(0, 0.3))
        self._servers.database.start_again()

    def _fill_disk(self, disk: SmallDisk) -> None:
        """Fill it; where there is no room for a PostgreSQL's log either, the server ends."""
        disk.fill()
        if self._servers.database.vendor == "postgres" and self._dice.random() < LOG_SHARE:
            with suppress(psycopg.Error), closing(self._connect()) as client:
                for _ in range(LOG_FILES):
                    client.execute("SELECT pg_switch_wal(), pg_current_xact_id()")
        time.sleep(self._length())
        disk.empty()
        time.sleep(self._stage.lease_seconds)
        self._servers.database.come_back()

    def _hold_lock(self) -> None:
        child = self._stage.children.start("locker", world_id=self._dice.choice(self._worlds), seconds=self._length())
        self._stage.over(child)

    def _slow_commits(self) -> None:
        """Let every commit that tells the outbox take up to two leases."""
        self._execute("UPDATE torture_slow SET seconds = %s", self._dice.uniform(0, 2 * self._stage.lease_seconds))
        time.sleep(self._length())
        self._execute("UPDATE torture_slow SET seconds = 0")

    def _cut_connections(self) -> None:
        self._execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    def _take_connections(self) -> None:
        """Hold idle connections until PostgreSQL gives no more, and let them go."""
        with ExitStack() as taken:
            with suppress(psycopg.OperationalError):
                while True:
                    taken.enter_context(closing(self._connect()))
            time.sleep(self._dice.uniform(*TAKEN_SECONDS))

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._servers.database.settings["DATABASE_URL"], autocommit=True)

    def _execute(self, statement: str, *parameters: float) -> None:
        def run() -> None:
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters)

        self._stage.read(run)

    def _redis(self, database: int) -> redis.Redis:
        return redis.Redis.from_url(settings.REDIS.for_client(database), retry=Retry(NoBackoff(), 0), socket_timeout=5)
