"""Write the audit as a file that proves itself."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError

from audit.export import event_line, first_line
from audit.signatures import checkpoint_line
from audit.stored import stored_chains, stored_checkpoints, stored_heads, stored_rows


class Command(BaseCommand):
    """``manage.py audit_export [--chain X] [--output FILE]``."""

    help = "Write the audit as JSON Lines that audit_verify --export checks without this database."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--chain", help="only this world, or _system (default: all)")
        parser.add_argument("--output", type=Path, help="the file to write, which must not exist (default: stdout)")

    def handle(self, *_args: object, **options: Any) -> None:  # Any: what argparse has parsed
        """Write heads and checkpoints, then every event up to the heads: what is appended meanwhile is left out."""
        only, output = options["chain"], options["output"]
        chains = stored_chains(only)
        if only and not chains:
            raise CommandError(f"There is no chain {only!r}.")
        try:
            target = output.open("xb") if output else nullcontext(sys.stdout.buffer)
        except FileExistsError as error:
            raise CommandError(f"{output} exists; an export is never overwritten.") from error
        with target as stream:
            _write(stream, chains)


def _write(stream: IO[bytes], chains: tuple[str, ...]) -> None:
    signed = [head for chain in chains for head, _ in stored_checkpoints(chain) if head]
    heads = stored_heads(chains)
    stream.write(first_line(heads, checkpoint_count=len(signed)) + b"\n")
    for head in signed:
        stream.write(checkpoint_line(head) + b"\n")
    for chain, end in heads.items():
        for row, stored in stored_rows(chain, until=end.seq, progress=lambda _count: None):
            stream.write(event_line(row, stored) + b"\n")
