"""Canonical JSON and what is derived from it: digests, plan hashes, ETags."""

from __future__ import annotations

import hashlib
import json


def canonical_json(value: object) -> bytes:
    """Encode ``value`` so that equal values give equal bytes: sorted keys, no spaces, UTF-8, shortest floats.

    Raises:
        ValueError: a float is NaN or infinite.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: object) -> str:
    """Return ``sha256:`` and the hex digest of the canonical JSON of ``value``."""
    return digest_bytes(canonical_json(value))


def digest_bytes(data: bytes) -> str:
    """Return ``sha256:`` and the hex digest of ``data``."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
