"""Keeps secrets out of the audit: masked by the name of their key, or by what they look like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

MASK: Final = "[redacted]"

_SECRET_KEY = re.compile(r"(?i)(^|_|-)(password|passwd|secret|token|authorization|api_?key|private_?key|cookie|dsn)$")
_SECRET_TEXT = re.compile(
    r"qw_[a-z]+_[A-Za-z0-9]+_[A-Za-z0-9_-]{16,}"  # our machine tokens
    r"|(?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{16,}"
    r"|(?<=://)[^\s/@]+:[^\s/@]+(?=@)"  # user:password of a URL
)


def redact_text(text: str) -> str:
    """Return ``text`` with everything that looks like a credential masked."""
    return _SECRET_TEXT.sub(MASK, text)


def redact(value: object) -> object:
    """Return a JSON value with credentials masked at any depth: whole under a telling key, in part in a text."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {key: MASK if item and _SECRET_KEY.search(str(key)) else redact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return value
