"""What plain scalars mean: YAML 1.2 core, so that ``on``, ``no``, ``1:30`` and dates stay text, ``1e-3`` a number."""

from __future__ import annotations

import re
from typing import Final

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

_LONGEST_NUMBER: Final = 32
LARGEST_INTEGER: Final = 10**15

Scalar = str | int | float | bool | None


def resolve_plain(text: str) -> Scalar:
    """Return what an unquoted scalar means.

    Raises:
        ValueError: it is NaN, infinite, or larger than a policy can use.
    """
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _NO_NUMBER.fullmatch(text):
        raise ValueError("NaN and infinity are no values")
    return _resolve_number(text)


def _resolve_number(text: str) -> int | float | str:
    is_integer = _INTEGER.fullmatch(text) or _OCTAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text)
    if not is_integer and not _FLOAT.fullmatch(text):
        return text
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"a number has at most {_LONGEST_NUMBER} characters")
    if not is_integer:
        return _finite(float(text))
    number = int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
    if abs(number) > LARGEST_INTEGER:
        raise ValueError("the number is too large")
    return number


def _finite(number: float) -> float:
    if abs(number) == float("inf"):
        raise ValueError("the number is too large")
    return number
