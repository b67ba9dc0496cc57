"""``manage.py demo``: the main job on the embedded default, on real prices, in about two minutes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.embedded.process import LaunchError
from qmtl_worlds.embedded.programs import address, all_programs
from qmtl_worlds.embedded.supervisor import Supervisor
from worlds.management.demonstration.cast import Cast, hire
from worlds.management.demonstration.report import decisions_digest, explained_demotion, top_table, week_line
from worlds.management.demonstration.runner import Place, RunnerProcess
from worlds.management.demonstration.story import EVALUATIONS, WORLD_ID, Week, found_world, weeks

_INSIDE: Final = "QW_DEMO"
_FIRST_WATCHED_WEEK: Final = 10
_WATCHED: Final = 3
_TURNS_A_RUNNER: Final = 6


class Command(BaseCommand):
    """Build a world from nothing, live through a year of it, and leave it running to look at."""

    help = "Show the whole loop on real prices: submit, evaluate, approve, apply, ask the gate."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--port", type=int, default=8000, help="port of the web server on 127.0.0.1")
        parser.add_argument("--exit", action="store_true", help="stop at the end instead of leaving the server running")
        parser.add_argument("--evaluations", type=int, default=EVALUATIONS, help="weeks to live through")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        """Run the demonstration in a data folder of its own."""
        if os.environ.get(_INSIDE) != "1":
            _start_again_inside()
        self._started = time.monotonic()
        with contextlib.suppress(KeyboardInterrupt):
            self._run(options["port"], options["evaluations"], stop_at_end=options["exit"])

    def _run(self, port: int, count: int, *, stop_at_end: bool) -> None:
        data, base = Path(settings.DATA_DIR), Path(settings.BASE_DIR)
        self._say("1/6 Making an empty database")
        call_command("migrate", verbosity=0)
        self._say("2/6 Starting Valkey, web, worker, beat and tick")
        environment = {name: os.environ[name] for name in _environment(data)}
        logs = data / "logs"
        programs = all_programs(base=base, data=data, port=port, environment=environment, logs=logs)
        try:
            with Supervisor(programs, log_folder=logs, say=lambda line: self.stdout.write(f"  {line}")) as supervisor:
                cast, last = self._tell(base, data, address(port), count)
                self._conclude(cast, last, address(port))
                if not stop_at_end:
                    self.stdout.write("\nThe server keeps running; Ctrl-C stops it.")
                    supervisor.wait()
        except LaunchError as error:
            raise CommandError(f"{error} (is port {port} taken? try --port)") from error

    def _tell(self, base: Path, data: Path, server: str, count: int) -> tuple[Cast, Week]:
        self._say("3/6 Hiring alice (operator), bob and carol (approvers); alice writes the policy, bob approves it")
        cast = hire(folder=data)
        found_world(cast=cast)
        self._say("4/6 Submitting rule strategies on AAPL, FB, GOOG, IBM and MSFT through the API")
        _submit(base, server, cast)
        self._say(
            f"5/6 Living through {count} weeks: evaluate, plan, two approvals, freeze and drain, switch, unfreeze"
        )
        return cast, self._live(base, data, server, cast, count)

    def _live(self, base: Path, data: Path, server: str, cast: Cast, count: int) -> Week:
        last: Week | None = None
        runners: list[RunnerProcess] = []
        with contextlib.ExitStack() as stack:
            for week in weeks(cast=cast, count=count):
                self.stdout.write(week_line(week, of=count))
                if not runners and week.number >= min(_FIRST_WATCHED_WEEK, count):
                    place = Place(base=base, server=server, token_file=cast.runner_file, logs=data / "logs")
                    runners = [stack.enter_context(RunnerProcess(place, WORLD_ID, key)) for key in _watched(week)]
                for runner in runners:
                    runner.trade(week.sessions)
                last = week
        if last is None:
            raise CommandError("--evaluations must be at least 1")
        self._say("6/6 What Runner processes were told before their orders")
        for runner in runners:
            self.stdout.write("\n".join(f"  {line}" for line in runner.turns(most=_TURNS_A_RUNNER)))
        return last

    def _conclude(self, cast: Cast, last: Week, server: str) -> None:
        self.stdout.write(f"\nActive set after {last.day}:\n{top_table(last.evaluation)}")
        self.stdout.write(f"\nWhy the last one left:\n{explained_demotion()}")
        self.stdout.write(f"\nDecisions: {decisions_digest()}")
        self.stdout.write(f"\nAdmin: {server}/admin/   API: {server}/api/schema   (throw-away credentials)")
        for name, password in cast.passwords.items():
            self.stdout.write(f"  {name:<6} {password}")
        self.stdout.write(f"Done in {time.monotonic() - self._started:.0f} s.")

    def _say(self, line: str) -> None:
        self.stdout.write(self.style.MIGRATE_HEADING(line))


def _start_again_inside() -> None:
    """Replace this process by one whose settings point at an empty data folder for the demonstration."""
    data = Path(settings.DATA_DIR) / "demo"
    connection.close()
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700, parents=True)
    os.environ.update(_environment(data))
    os.environ.pop("DATABASE_URL", None)
    os.environ.pop("REDIS_URL", None)
    os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 - this very program again


def _environment(data: Path) -> dict[str, str]:
    return {
        _INSIDE: "1",
        "QW_DATA_DIR": str(data),
        "QW_HTTPS": "0",
        "QW_NO_BOOTSTRAP": "1",
        "QW_LOG_LEVEL": "INFO",
        "OPENBLAS_NUM_THREADS": "1",
    }


def _submit(base: Path, server: str, cast: Cast) -> None:
    command = [
        *(sys.executable, "-m", "strategies.alpha.submit", "--server", server),
        *("--token-file", str(cast.submitter_file), "--world", WORLD_ID),
        *("--calendar", str(base / "config" / "calendars" / "XNYS.csv")),
    ]
    _check(subprocess.run(command, cwd=base, check=False).returncode, command)  # noqa: S603 - our own program


def _check(code: int, command: Sequence[str]) -> None:
    if code != 0:
        raise CommandError(f"{command[2]} ended with code {code}; its message is above.")


def _watched(week: Week) -> list[InstanceKey]:
    active = json.loads(week.evaluation.decision_bytes())["active"]
    return [InstanceKey.from_text(text) for text in active[:_WATCHED]]
