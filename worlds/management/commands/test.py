"""``manage.py test``: the static checks, then the tests on PostgreSQL and on SQLite; ``--extended`` the long ones."""

from __future__ import annotations

import json
import sys
import tempfile
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from django.core.management.base import BaseCommand

from worlds.management.steps import Outcome, Step, run_aloud, run_side_by_side

QUICK_ONLY = "not slow and not browser and not fault"


class Command(BaseCommand):
    """Everything that must hold before a change may land."""

    help = "Run the static checks and all tests. What follows -- goes to pytest, and then only the tests run."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the short form, and words for pytest."""
        parser.add_argument("--fast", action="store_true", help="only the quick tests that need no database")
        parser.add_argument("--extended", action="store_true", help="only the tests that take minutes: half an hour")
        parser.add_argument("pytest_arguments", nargs="*", help="passed to pytest")

    def handle(self, *_args: object, **options: object) -> None:
        """Run every part, also after a failure; the exit code is 1 when one failed."""
        words = [str(word) for word in _list(options["pytest_arguments"])]
        with tempfile.TemporaryDirectory(prefix="qmtl-worlds-test-") as folder:
            if options["extended"]:
                outcomes = run_side_by_side(_extended(words, Path(folder)), tell=self._tell)
            else:
                outcomes = [self._run(step) for step in _steps(words, options, Path(folder))]
            counts = _counts(Path(folder))
        self.stdout.write("")
        for outcome in outcomes:
            self.stdout.write(str(outcome))
        self.stdout.write(f"{counts['passed']} passed, {counts['failed'] + counts['error']} failed")
        if not all(outcome.passed for outcome in outcomes):
            sys.exit(1)

    def _tell(self, line: str) -> None:
        self.stdout.write(line, ending="")
        self.stdout.flush()

    def _run(self, step: Step) -> Outcome:
        self.stdout.write(f"\n== {step.name}")
        self.stdout.flush()
        return run_aloud(step)


def _extended(words: list[str], folder: Path) -> list[Step]:
    chosen = [_pytest(name, ["-v", "-m", "extended", *words], folder) for name in ("postgres", "sqlite")]
    more = {"QW_TEST_EXTENDED": "1", "PYTHONUNBUFFERED": "1"}
    return [replace(step, environment={**step.environment, **more}) for step in chosen]


def _steps(words: list[str], options: Mapping[str, object], folder: Path) -> list[Step]:
    if options["fast"]:
        return [_pytest("none", ["-m", QUICK_ONLY, *words], folder)]
    tests = [_pytest("postgres", words, folder), _pytest("sqlite", words, folder)]
    if words:
        return tests
    return [Step(name="static checks", command=(sys.executable, "manage.py", "check_code")), *tests]


def _pytest(database: str, words: list[str], folder: Path) -> Step:
    return Step(
        name=f"tests, database {database}",
        command=(sys.executable, "-m", "pytest", *words),
        environment={"QW_TEST_DATABASE": database, "QW_TEST_COUNTS": str(folder / f"{database}.json")},
    )


def _counts(folder: Path) -> Counter[str]:
    """Add up what each run of pytest wrote about itself."""
    total: Counter[str] = Counter()
    for file in folder.glob("*.json"):
        total.update(json.loads(file.read_text(encoding="utf-8")))
    return total


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
