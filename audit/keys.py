"""The key that signs checkpoints: a file that only the process that signs may read."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from django.conf import settings

from audit.signatures import key_id_of, read_public_keys

GENERATED_NAME: Final = "audit_signing_key.pem"


class SigningKeyError(Exception):
    """The key of the checkpoints cannot be read or made; says which file and why, never what is in it."""


def key_file() -> Path:
    """Return where the signing key lies: the file that is set, else one in the data folder."""
    return Path(settings.AUDIT_SIGNING_KEY_FILE or settings.DATA_DIR / GENERATED_NAME)


def signing_key() -> Ed25519PrivateKey:
    """Return the signing key; where none is set, one is made on first use, with mode 0600.

    Raises:
        SigningKeyError: the file that is set cannot be read, can be by everybody, or holds no Ed25519 key.
    """
    file = key_file()
    try:
        if settings.AUDIT_SIGNING_KEY_FILE is None and not file.exists():
            _generate(file)
        return _read(file)
    except OSError as error:
        raise SigningKeyError(f"The signing key {str(file)!r} cannot be read: {error.strerror}.") from error


def trusted_keys() -> dict[str, Ed25519PublicKey]:
    """Return the public keys that this installation trusts: its signing key's, where there is one, and earlier ones.

    Raises:
        SigningKeyError: a file cannot be read, or holds no such key.
    """
    keys = {}
    if key_file().exists():
        own = signing_key().public_key()
        keys[key_id_of(own)] = own
    if settings.AUDIT_PUBLIC_KEYS_FILE is not None:
        keys |= public_keys_in(settings.AUDIT_PUBLIC_KEYS_FILE)
    return keys


def public_keys_in(file: Path) -> dict[str, Ed25519PublicKey]:
    """Return the public keys in a PEM file.

    Raises:
        SigningKeyError: the file cannot be read, or holds anything but Ed25519 public keys.
    """
    try:
        return read_public_keys(file.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise SigningKeyError(f"The public keys {str(file)!r} cannot be read: {error}") from error


def _read(file: Path) -> Ed25519PrivateKey:
    if file.stat().st_mode & stat.S_IRWXO:
        raise SigningKeyError(
            f"The signing key {str(file)!r} is open to everybody: chmod 600 it, or better replace it."
        )
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise SigningKeyError(f"The signing key {str(file)!r} is no unencrypted PEM.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyError(f"The signing key {str(file)!r} is no Ed25519 key.")
    return key


def _generate(file: Path) -> None:
    """Write a new key; of processes that start together the first to link its file wins."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with contextlib.suppress(FileExistsError):
        os.link(draft, file)
    draft.unlink()
