"""Ends of chains that a key has signed, and how they are checked. Needs cryptography and the contracts, no database.

A checkpoint is one line, ``{"checkpoint":<statement>,"signature":"<hex>"}``; the signature (Ed25519, RFC 8032) covers
the bytes of the statement as they stand in the line.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from audit.chain import Finding, SignedHead
from qmtl_worlds.contracts.digests import canonical_json

FORMAT: Final = "qmtl-worlds.audit.checkpoint.1"
"""In every statement, so that no other use of the key can make one."""

_CHECKPOINT: Final = b'{"checkpoint":'
_SIGNATURE: Final = b',"signature":"'
_END: Final = b'"}'
_PUBLIC_KEY: Final = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)

PublicKeys = Mapping[str, Ed25519PublicKey]
"""The keys that are trusted, by their ids."""


_SIGNED: Final = SignedHead._fields[:-1]


def key_id_of(key: Ed25519PublicKey) -> str:
    """Return the id of a key: ``ed25519:`` and half of the SHA-256 of its 32 bytes in hex."""
    return f"ed25519:{hashlib.sha256(key.public_bytes_raw()).hexdigest()[:32]}"


def public_pem(key: Ed25519PublicKey) -> bytes:
    """Return a public key as PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def read_public_keys(pem: bytes) -> dict[str, Ed25519PublicKey]:
    """Return every public key of a PEM text, by its id.

    Raises:
        ValueError: there is none, or one that is no Ed25519 key.
    """
    keys = [load_pem_public_key(block) for block in _PUBLIC_KEY.findall(pem)]
    usable = [key for key in keys if isinstance(key, Ed25519PublicKey)]
    if not usable or len(usable) < len(keys):
        raise ValueError("The file must hold Ed25519 public keys as PEM, and nothing else.")
    return {key_id_of(key): key for key in usable}


def sign(head: SignedHead, key: Ed25519PrivateKey) -> SignedHead:
    """Return ``head`` with the key's id and signature."""
    named = head._replace(key_id=key_id_of(key.public_key()))
    return named._replace(signature=key.sign(statement(named)).hex())


def statement(head: SignedHead) -> bytes:
    """Return the bytes that the signature covers: the canonical JSON of everything else, and of the format."""
    facts = dict(zip(_SIGNED, head, strict=False))
    return canonical_json({"format": FORMAT, **facts})


def checkpoint_line(head: SignedHead) -> bytes:
    """Return the line of a checkpoint, without its end."""
    return _CHECKPOINT + statement(head) + _SIGNATURE + head.signature.encode() + _END


def is_checkpoint_line(line: bytes) -> bool:
    """Tell whether a line begins as a checkpoint."""
    return line.startswith(_CHECKPOINT)


def read_checkpoint(line: bytes) -> SignedHead:
    """Return the checkpoint of a line.

    Raises:
        ValueError: the line is not, byte for byte, one that ``checkpoint_line`` writes.
    """
    try:
        found = json.loads(line)
        facts = found["checkpoint"]
        head = SignedHead(**{name: facts[name] for name in _SIGNED}, signature=found["signature"])
        if _is_typed(head) and checkpoint_line(head) == line:
            return head
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("The line is no checkpoint.") from error
    raise ValueError("The line is no checkpoint.")


def read_checkpoints(lines: Iterable[bytes]) -> tuple[tuple[SignedHead, ...], tuple[Finding, ...]]:
    """Return the checkpoints of a file, and a finding for each line that is none; its row is the line's number."""
    heads: list[SignedHead] = []
    findings: list[Finding] = []
    for number, line in enumerate(lines, start=1):
        try:
            heads.append(read_checkpoint(line.rstrip(b"\r\n")))
        except ValueError as error:
            findings.append(Finding("", number, "checkpoint-unreadable", str(error)))
    return tuple(heads), tuple(findings)


def checkpoint_finding(head: SignedHead, *, trusted: PublicKeys, found: str | None) -> Finding | None:
    """Say what is wrong with a checkpoint: its key, its signature, or that the chain does not hold what it signs.

    ``found`` is the hash that the signed row really has, None where there is no such row.
    """
    if head.key_id not in trusted:
        return _finding(head, "checkpoint-unknown-key", f"it is signed with {head.key_id}, which is no trusted key")
    if not _is_signed(head, trusted[head.key_id]):
        return _finding(head, "checkpoint-forged", f"its signature is not of {head.key_id}")
    if found is None:
        return _finding(head, "missing", f"the row was signed at {head.created_at} and is gone")
    if found != head.hash:
        return _finding(head, "rewritten", f"the row has another hash than when it was signed at {head.created_at}")
    return None


def _finding(head: SignedHead, code: str, detail: str) -> Finding:
    return Finding(head.chain, head.seq, code, detail)


def _is_signed(head: SignedHead, key: Ed25519PublicKey) -> bool:
    try:
        signature = bytes.fromhex(head.signature)
        key.verify(signature, statement(head))
    except (InvalidSignature, TypeError, ValueError):
        return False
    return signature.hex() == head.signature


def _is_typed(head: SignedHead) -> bool:
    texts = (head.chain, head.hash, head.created_at, head.key_id, head.signature)
    return type(head.seq) is int and all(isinstance(text, str) for text in texts)
