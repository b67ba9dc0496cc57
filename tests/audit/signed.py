from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core.management import call_command

from audit.signatures import public_pem


@dataclass(frozen=True, slots=True)
class Outside:
    """What lies where the owner of the database does not reach."""

    checkpoints: Path
    public_key: Path

    @property
    def options(self) -> tuple[str, ...]:
        return ("--checkpoints", str(self.checkpoints), "--public-key", str(self.public_key))


def write_key(path: Path) -> Path:
    """Write a new signing key to ``path``, its public half beside it as ``.pub``, and return the path."""
    key = Ed25519PrivateKey.generate()
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.with_suffix(".pub").write_bytes(public_pem(key.public_key()))
    return path


def checkpoint(path: Path) -> Path:
    """Sign the ends of all chains, append them to ``path``, and return it."""
    call_command("audit_checkpoint", "--out", str(path))
    return path
