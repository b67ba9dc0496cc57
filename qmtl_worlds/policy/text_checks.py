"""What a policy's text must be before anything reads it: small, UTF-8, printable."""

from __future__ import annotations

import re
from typing import Final

from qmtl_worlds.contracts.errors import PolicyInvalidError
from qmtl_worlds.contracts.faults import Fault
from qmtl_worlds.policy.faults import text_fault

MAX_BYTES: Final = 65_536

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # controls; tab and line breaks may stay
    "\u2028\u2029"  # line breaks to some readers only
    "\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"  # invisible, or they turn the order of what is read
    "\ud800-\udfff\ufffe\uffff]"
)


def read_text(source: str | bytes) -> str:
    """Return the text without its byte order mark.

    Raises:
        PolicyInvalidError: over 64 KiB, no UTF-8, or with a character that nobody sees.
    """
    if len(source) > MAX_BYTES:
        raise _too_large()
    text = (_decode(source) if isinstance(source, bytes) else source).removeprefix("\ufeff")
    if (index := find_unprintable(text)) is not None:
        raise text_fault(text, index, "bad-character", f"the character U+{ord(text[index]):04X} is not allowed")
    if not text.isascii() and len(text.encode()) > MAX_BYTES:
        raise _too_large()
    return text


def find_unprintable(text: str) -> int | None:
    """Return the index of the first control, invisible or half character, or None."""
    match = _UNPRINTABLE.search(text)
    return match.start() if match else None


def _decode(source: bytes) -> str:
    try:
        return source.decode()
    except UnicodeDecodeError as error:
        before = source[: error.start].decode()
        raise text_fault(before, len(before), "not-utf-8", "the text is not UTF-8") from error


def _too_large() -> PolicyInvalidError:
    return PolicyInvalidError([Fault(1, 1, "", "too-large", f"a policy has at most {MAX_BYTES} bytes")])
