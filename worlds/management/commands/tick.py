"""``manage.py tick``: advance runs, claim slots and renew the copy in Redis, each second, from the database alone."""

from __future__ import annotations

import gc
import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import close_old_connections

from worlds.services.tick_memory import Memory
from worlds.work.live_runs import start_carrying
from worlds.work.relay import start_relay
from worlds.work.tick import tick


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
        if not options["once"]:
            gc.freeze()  # what was imported stays, and walking all of it takes longer than a step of a run
            start_relay(stopped)
            start_carrying(stopped, every=options["every"])
        while not stopped.is_set():
            tick(memory)
            if options["once"]:
                return
            close_old_connections()
            stopped.wait(options["every"])
