"""Run storms on throw-away servers: ``python -m torture --help``; ``manage.py worlds_torture`` is the same."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import django
from django.utils.module_loading import import_string

from torture.disk import can_mount
from torture.servers import servers

NO_DISK: Final = 3
"""The exit code where a small disk is wanted and cannot be had."""


def main(words: Sequence[str]) -> int:
    """Run, print, and report; 1 where anything did not hold."""
    options = parser().parse_args(words)
    if options.small_disk and not can_mount():
        sys.stdout.write("No tmpfs can be mounted here, so the disk cannot run full.\n")
        return NO_DISK
    with servers(options.database, small_disk=options.small_disk) as running:
        running.take_over_environment()
        django.setup()
        scene = "comeback" if options.restore else "session"
        run = import_string(f"torture.{scene}.run")  # what it imports needs the settings
        return int(run(running, options))


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    words = argparse.ArgumentParser(prog="worlds_torture", description=__doc__)
    words.add_argument("--minutes", type=float, default=1.0, help="how long the storm lasts; 0 for none")
    words.add_argument("--seed", default=f"{time.time_ns() % 10**8}", help="the same seed throws the same dice")
    words.add_argument("--database", choices=("postgres", "sqlite"), default="postgres")
    words.add_argument("--kills", type=int, default=0, help="go on until so many processes died at failpoints")
    words.add_argument("--reads", type=int, default=0, help="go on until the observer has read so often")
    words.add_argument("--weather", action="store_true", help="also strike Redis, the broker, the database, signals")
    words.add_argument("--strikes", default="", help="of the weather these faults only, by name")
    words.add_argument("--small-disk", action="store_true", help="let the database's disk run full; takes root")
    words.add_argument("--worlds", type=int, default=6)
    words.add_argument("--mutants", default="", help="after the storm, do it wrong in these ways, and expect to notice")
    words.add_argument("--restore", action="store_true", help="no storm: put an old backup back while Runners ask")
    words.add_argument("--report", type=Path, help="a file that gets a line of JSON, so that runs add up")
    return words


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
