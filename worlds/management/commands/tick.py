"""``manage.py tick``: advance runs, claim slots and renew the copy in Redis, each second, from the database alone."""

from __future__ import annotations

import gc
import signal
import threading
from typing import Any

import structlog
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError, close_old_connections, connection

from qmtl_worlds.own_connection import no_pool
from worlds.services.tick_memory import Memory
from worlds.work.live_runs import start_carrying
from worlds.work.relay import start_relay
from worlds.work.tick import tick

_log = structlog.get_logger(__name__)


class Command(BaseCommand):
    """Run until asked to stop."""

    help = "Advance apply runs, claim due evaluations and renew the projection, once a second."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--every", type=float, default=1.0, help="seconds between ticks")
        parser.add_argument("--once", action="store_true", help="tick once and exit")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        """Tick until SIGTERM or SIGINT."""
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        memory = Memory()
        if options["once"]:
            tick(memory)
            return
        gc.freeze()  # what was imported stays, and walking all of it takes longer than a step of a run
        with no_pool():
            self._tick_until(stopped, memory, every=options["every"])

    def _tick_until(self, stopped: threading.Event, memory: Memory, *, every: float) -> None:
        threads = [start_relay(stopped), start_carrying(stopped, every=every)]
        while not stopped.is_set():
            self._tick(memory)
            stopped.wait(every)
            if not stopped.is_set() and not all(thread.is_alive() for thread in threads):
                raise CommandError("A thread of the tick has died; the log says why. Start the tick again.")

    def _tick(self, memory: Memory) -> None:
        """Tick once; a process that ended with its database would forget the drains that it watches."""
        try:
            tick(memory)
        except (DatabaseError, InterfaceError) as error:
            _log.warning("tick_without_database", detail=str(error))
            connection.close()
        close_old_connections()
