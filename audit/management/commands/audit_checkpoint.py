"""Sign where every chain of the audit ends."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from audit.chain import SignedHead
from audit.checkpoints import sign_heads
from audit.keys import SigningKeyError, signing_key
from audit.signatures import checkpoint_line, public_pem


class Command(BaseCommand):
    """``manage.py audit_checkpoint [--out FILE] | --print-public-key``."""

    help = "Sign where every chain of the audit ends; keep the file elsewhere, and audit_verify --checkpoints reads it."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--out", type=Path, help="also append the checkpoints to this file")
        parser.add_argument(
            "--print-public-key", action="store_true", help="print the public key as PEM, and sign nothing"
        )

    def handle(self, *_args: object, **options: Any) -> None:  # Any: what argparse has parsed
        """Sign, store, and append to the file."""
        try:
            if options["print_public_key"]:
                self.stdout.write(public_pem(signing_key().public_key()).decode(), ending="")
                return
            heads = sign_heads(now=timezone.now())
            if options["out"]:
                _append(options["out"], heads)
        except (OSError, SigningKeyError) as error:
            raise CommandError(str(error)) from error
        for head in heads:
            self.stdout.write(f"{head.chain} {head.seq} {head.hash}")


def _append(path: Path, heads: tuple[SignedHead, ...]) -> None:
    with path.open("ab") as stream:
        for head in heads:
            stream.write(checkpoint_line(head) + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
