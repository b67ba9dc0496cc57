"""Check that nobody has changed the audit."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.core.management.base import BaseCommand, CommandError

from audit.chain import ChainReport, Finding, SignedHead, kill_chain
from audit.export import read_heads, verify_export
from audit.keys import SigningKeyError, public_keys_in, trusted_keys
from audit.run_verification import verify_runs
from audit.signatures import read_checkpoints
from audit.stored import stored_chains
from audit.verification import (
    verify_against,
    verify_outside_checkpoints,
    verify_stored_chain,
    verify_stored_checkpoints,
)

TELL_EVERY = 100_000


@dataclass(frozen=True, slots=True)
class Result:
    """What was checked and found; ``run_count`` is None where evaluations were not looked at."""

    chains: tuple[ChainReport, ...]
    checkpoint_count: int = 0
    run_count: int | None = None
    others: tuple[Finding, ...] = ()

    def findings(self) -> tuple[Finding, ...]:
        """Return the first bad row of each chain, then what else is wrong."""
        return (*(report.finding for report in self.chains if report.finding), *self.others)


@dataclass(frozen=True, slots=True)
class Outside:
    """What was kept elsewhere: checkpoints, and lines of their file that are none."""

    heads: tuple[SignedHead, ...] = ()
    unreadable: tuple[Finding, ...] = ()


class Command(BaseCommand):
    """``manage.py audit_verify [--export FILE] [--checkpoints FILE] ...``; ends with 1 on a finding."""

    help = "Check every hash and signature of the audit; name the first bad row of each chain and end with 1."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--chain", help="only this world, or _system (default: all)")
        parser.add_argument("--export", type=Path, help="check this file, not the database")
        parser.add_argument("--checkpoints", type=Path, help="also check this copy of the checkpoints, kept elsewhere")
        parser.add_argument("--public-key", type=Path, help="PEM of the keys to trust (default: this installation's)")
        parser.add_argument("--against", type=Path, help="also check that the database holds all of this older export")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *_args: object, **options: Any) -> None:  # Any: what argparse has parsed
        """Check, print, and end with 1 where something is wrong."""
        try:
            trusted = public_keys_in(options["public_key"]) if options["public_key"] else trusted_keys()
            outside = _outside_in(options["checkpoints"], options["chain"])
            check = _verify_file if options["export"] else self._verify_database
            result = check(options, outside, trusted)
        except (OSError, ValueError, SigningKeyError) as error:
            raise CommandError(str(error)) from error
        lines = [_as_json(result)] if options["json"] else _as_text(result)
        for line in lines:
            self.stdout.write(line)
        if result.findings():
            sys.exit(1)

    def _verify_database(
        self, options: dict[str, Any], outside: Outside, trusted: Mapping[str, Ed25519PublicKey]
    ) -> Result:
        only = options["chain"]
        chains = stored_chains(only)
        if only and not chains and not outside.heads:
            raise CommandError(f"There is no chain {only!r}.")
        tell = _Progress(self)
        reports = tuple(verify_stored_chain(chain, progress=tell) for chain in chains)
        signed = [verify_stored_checkpoints(chain, trusted=trusted) for chain in chains]
        _, changed = verify_outside_checkpoints(outside.heads, trusted=trusted)
        run_count, lost = verify_runs(worlds=chains if only else None, progress=tell)
        older = verify_against(_heads_in(options["against"], only)) if options["against"] else ()
        found = (*(bad for _, bad in signed), *outside.unreadable, *changed, *older, lost)
        others = tuple(finding for finding in found if finding)
        return Result(reports, sum(count for count, _ in signed), run_count, others)


class _Progress:
    """Says on stderr how far a long check is."""

    def __init__(self, command: BaseCommand) -> None:
        self._command = command
        self._count = 0

    def __call__(self, count: int) -> None:
        before, self._count = self._count, self._count + count
        if before // TELL_EVERY != self._count // TELL_EVERY:
            self._command.stderr.write(f"{self._count} rows checked ...")


def _verify_file(options: dict[str, Any], outside: Outside, trusted: Mapping[str, Ed25519PublicKey]) -> Result:
    with options["export"].open("rb") as lines:
        report = verify_export(lines, trusted=trusted, outside=outside.heads)
    return Result(report.chains, report.checkpoint_count, others=(*outside.unreadable, *report.others))


def _outside_in(path: Path | None, only: str | None) -> Outside:
    if path is None:
        return Outside()
    with path.open("rb") as lines:
        heads, unreadable = read_checkpoints(lines)
    return Outside(tuple(head for head in heads if _is_wanted(head.chain, only)), unreadable)


def _heads_in(path: Path, only: str | None) -> dict[str, Any]:
    with path.open("rb") as lines:
        heads = read_heads(lines.readline())
    return {chain: head for chain, head in heads.items() if _is_wanted(chain, only)}


def _is_wanted(chain: str, only: str | None) -> bool:
    return only is None or chain in {only, kill_chain(only)}


def _as_json(result: Result) -> str:
    found = result.findings()
    return json.dumps(
        {
            "ok": not found,
            "first": asdict(found[0]) if found else None,
            "chains": [asdict(report) for report in result.chains],
            "checkpoint_count": result.checkpoint_count,
            "run_count": result.run_count,
            "others": [asdict(finding) for finding in result.others],
        }
    )


def _as_text(result: Result) -> Iterator[str]:
    for report in result.chains:
        yield f"{report.chain}: {report.count} rows good" + (f"; then {report.finding}" if report.finding else "")
    yield f"checkpoints: {result.checkpoint_count} good"
    if result.run_count is not None:
        yield f"evaluations: {result.run_count} good"
    for finding in result.others:
        yield str(finding)
    found = result.findings()
    yield f"BAD: {found[0]}" if found else "The audit is as it was written."
