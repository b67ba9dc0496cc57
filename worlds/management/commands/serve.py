"""``manage.py serve``: everything on one machine under one supervisor, on the embedded default."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser

from qmtl_worlds.embedded.programs import address, all_programs
from qmtl_worlds.embedded.supervisor import Supervisor


class Command(BaseCommand):
    """Migrate, start Valkey, web, worker, beat and tick, restart what ends, stop all on Ctrl-C."""

    help = "Run the whole server on this machine: Valkey, web, worker, beat and tick."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--port", type=int, default=8000)

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        """Run until SIGINT or SIGTERM."""
        data, logs = Path(settings.DATA_DIR), Path(settings.DATA_DIR) / "logs"
        call_command("migrate", verbosity=0)
        environment = {"QW_DATA_DIR": str(data), "QW_NO_BOOTSTRAP": "1"} | _given_redis()
        programs = all_programs(
            base=Path(settings.BASE_DIR), data=data, port=options["port"], environment=environment, logs=logs
        )
        with Supervisor(programs, log_folder=logs, say=self.stdout.write) as supervisor:
            self.stdout.write(f"Serving {address(options['port'])}/admin/ ; logs in {logs} ; Ctrl-C stops.")
            supervisor.wait()


def _given_redis() -> dict[str, str]:
    return {"REDIS_URL": os.environ["REDIS_URL"]} if os.environ.get("REDIS_URL") else {}
