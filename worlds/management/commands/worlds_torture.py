"""``manage.py worlds_torture``: kill, stop, wipe and delay everything, and see that nothing opens or is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    """Run a storm on servers of its own; the configured database and Redis are never touched."""

    help = "Prove the apply protocol on real processes that die. Needs the packages of requirements-test.lock."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options; they are those of ``python -m torture``."""
        parser.add_argument("--minutes", type=float, default=1.0, help="how long the storm lasts; 0 for none")
        parser.add_argument("--seed", help="the same seed throws the same dice; a new one each time otherwise")
        parser.add_argument("--database", choices=("postgres", "sqlite"), default="postgres")
        parser.add_argument("--kills", type=int, default=0, help="go on until so many processes died at failpoints")
        parser.add_argument("--reads", type=int, default=0, help="go on until the observer has read so often")
        parser.add_argument("--worlds", type=int, default=6)
        parser.add_argument("--calm", action="store_true", help="only deaths at failpoints, nothing else")
        parser.add_argument("--strikes", default="", help="of the faults beside them these only, by name")
        parser.add_argument("--small-disk", action="store_true", help="let the database's disk run full; takes root")
        parser.add_argument("--restore", action="store_true", help="no storm: put an old backup back while Runners ask")
        parser.add_argument("--mutants", default="", help="B1,B2,...: do it wrong in these ways and expect to notice")
        parser.add_argument("--report", type=Path, help="a file that gets a line of JSON, so that runs add up")
        parser.add_argument(
            "--write-report", type=Path, metavar="FILE", help="make RELIABILITY.md of such a file, only"
        )

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        """Run the storm in a process whose settings name its own servers; exit with its code."""
        if options["write_report"] is not None:
            command = ["torture.page", str(options["write_report"].resolve())]
        else:
            command = ["torture", *_words(options)]
        done = subprocess.run([sys.executable, "-m", *command], cwd=settings.BASE_DIR, check=False)  # noqa: S603 - ours
        sys.exit(done.returncode)


def _words(options: dict[str, Any]) -> list[str]:
    words = [] if options["calm"] else ["--weather"]
    words += [f"--{name.replace('_', '-')}" for name in ("small_disk", "restore") if options[name]]
    if options["report"] is not None:
        options = {**options, "report": options["report"].resolve()}
    for name in ("minutes", "seed", "database", "kills", "reads", "worlds", "strikes", "mutants", "report"):
        if options[name] not in {None, ""}:
            words += [f"--{name}", str(options[name])]
    return words
