"""``manage.py check_code``: everything that can be said about the code without running its tests."""

from __future__ import annotations

import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from worlds.management.steps import Outcome, Step, run_quietly

# What an installation has to set, in the form it would: the deploy check must be content with it.
PRODUCTION = {
    "DATABASE_URL": "postgres://worlds@db.example/worlds",
    "QW_ALLOWED_HOSTS": "worlds.example",
    "QW_BEHIND_PROXY": "1",
    "QW_SECRET_KEY": "".join(chr(number) for number in range(ord("0"), ord("z"))),
    "REDIS_URL": "redis://redis.example:6379",
}
AT_ONCE = 2


class Command(BaseCommand):
    """Format, lint, types, import contracts, migrations, deploy settings and the API's description."""

    help = "Check the code without running it; exits with 1 when anything is wrong."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Offer a choice of checks."""
        parser.add_argument("--only", action="append", metavar="NAME", help="run this check only; may be repeated")

    def handle(self, *_args: object, **options: object) -> None:
        """Run the checks side by side, the longest first."""
        only = options["only"]
        with tempfile.TemporaryDirectory(prefix="qmtl-worlds-check-") as folder:
            steps = [step for step in _steps(Path(folder)) if not isinstance(only, list) or step.name in only]
            outcomes = run_quietly(steps, at_once=AT_ONCE)
        for outcome in outcomes:
            self._show(outcome)
        if not all(outcome.passed for outcome in outcomes):
            raise CommandError("The code has faults; each is shown above.")

    def _show(self, outcome: Outcome) -> None:
        if not outcome.passed:
            self.stdout.write(outcome.output)
        self.stdout.write(str(outcome))


def _steps(folder: Path) -> list[Step]:
    """Return the checks; ``folder`` takes what they would leave behind."""
    clean = {"QW_DATA_DIR": str(folder / "development")}
    production = {**PRODUCTION, "QW_DATA_DIR": str(folder / "production")}
    steps = [
        Step(name="mypy", command=(sys.executable, "-m", "mypy"), environment=clean),
        Step(name="ruff format", command=(_tool("ruff"), "format", "--check", ".")),
        Step(name="ruff check", command=(_tool("ruff"), "check", ".")),
        Step(name="lint-imports", command=(_tool("lint-imports"), "--no-logo")),
        Step(name="makemigrations", command=_manage("makemigrations", "--check", "--dry-run"), environment=clean),
        Step(name="deploy", command=_manage("check", "--deploy", "--fail-level", "WARNING"), environment=production),
    ]
    if (settings.BASE_DIR / "worlds" / "api" / "urls.py").exists():
        schema = ("spectacular", "--validate", "--fail-on-warn", "--file", str(folder / "openapi.yaml"))
        steps.append(Step(name="spectacular", command=_manage(*schema), environment=clean))
    return steps


def _tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _manage(*words: str) -> tuple[str, ...]:
    return (sys.executable, "manage.py", *words)
