"""Check that nobody has changed the audit."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit.chain import ChainReport, Finding
from audit.export import read_heads, verify_export
from audit.stored import stored_chains
from audit.verification import verify_against, verify_runs, verify_stored_chain

TELL_EVERY = 100_000


@dataclass(frozen=True, slots=True)
class Result:
    """What was checked and found; ``run_count`` is None where evaluations were not looked at."""

    chains: tuple[ChainReport, ...]
    run_count: int | None = None
    others: tuple[Finding, ...] = ()

    def findings(self) -> tuple[Finding, ...]:
        """Return the first bad row of each chain, then what else is wrong."""
        return (*(report.finding for report in self.chains if report.finding), *self.others)


class Command(BaseCommand):
    """``manage.py audit_verify [--chain X] [--export FILE] [--against FILE] [--json]``; ends with 1 on a finding."""

    help = "Check every hash of the audit; name the first bad row of each chain and end with 1 if there is one."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--chain", help="only this world, or _system (default: all)")
        parser.add_argument("--export", type=Path, help="check this file, not the database")
        parser.add_argument("--against", type=Path, help="also check that the database holds all of this older export")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *_args: object, **options: Any) -> None:  # Any: what argparse has parsed
        """Check, print, and end with 1 where something is wrong."""
        try:
            result = _verify_file(options["export"]) if options["export"] else self._verify_database(options)
        except (OSError, ValueError) as error:
            raise CommandError(str(error)) from error
        lines = [_as_json(result)] if options["json"] else _as_text(result)
        for line in lines:
            self.stdout.write(line)
        if result.findings():
            sys.exit(1)

    def _verify_database(self, options: dict[str, Any]) -> Result:
        chains = stored_chains(options["chain"])
        if options["chain"] and not chains:
            raise CommandError(f"There is no chain {options['chain']!r}.")
        tell = _Progress(self)
        reports = tuple(verify_stored_chain(chain, progress=tell) for chain in chains)
        worlds = chains if options["chain"] else None
        run_count, lost = verify_runs(worlds=worlds, progress=tell)
        changed = verify_against(_heads_in(options["against"], worlds)) if options["against"] else ()
        return Result(reports, run_count, (*((lost,) if lost else ()), *changed))


class _Progress:
    """Says on stderr how far a long check is."""

    def __init__(self, command: BaseCommand) -> None:
        self._command = command
        self._count = 0

    def __call__(self, count: int) -> None:
        before, self._count = self._count, self._count + count
        if before // TELL_EVERY != self._count // TELL_EVERY:
            self._command.stderr.write(f"{self._count} rows checked ...")


def _verify_file(path: Path) -> Result:
    with path.open("rb") as lines:
        return Result(verify_export(lines))


def _heads_in(path: Path, chains: tuple[str, ...] | None) -> dict[str, Any]:
    with path.open("rb") as lines:
        heads = read_heads(lines.readline())
    return {chain: head for chain, head in heads.items() if chains is None or chain in chains}


def _as_json(result: Result) -> str:
    found = result.findings()
    return json.dumps(
        {
            "ok": not found,
            "first": asdict(found[0]) if found else None,
            "chains": [asdict(report) for report in result.chains],
            "run_count": result.run_count,
            "others": [asdict(finding) for finding in result.others],
        }
    )


def _as_text(result: Result) -> Iterator[str]:
    for report in result.chains:
        yield f"{report.chain}: {report.count} rows good" + (f"; then {report.finding}" if report.finding else "")
    if result.run_count is not None:
        yield f"evaluations: {result.run_count} good"
    for finding in result.others:
        yield str(finding)
    found = result.findings()
    yield f"BAD: {found[0]}" if found else "The audit is as it was written."
