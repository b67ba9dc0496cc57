"""What comes in the address: ids, numbers and query parameters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, TypeVar

from rest_framework.request import Request

from qmtl_worlds.contracts.errors import InputInvalidError
from worlds.api.bodies import convert

LARGEST: Final = 2**63 - 1
FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 9998

T = TypeVar("T")


def read_query(request: Request, shape: type[T]) -> T:
    """Read the query parameters into ``shape``; each may come once, and unknown ones are refused.

    Raises:
        InputInvalidError: a parameter is unknown, comes twice, or has a value that does not fit.
    """
    values: dict[str, object] = {}
    for name, given in request.query_params.lists():
        if len(given) > 1:
            raise InputInvalidError(field=name[:64], reason="must come once")
        if not given[0].isprintable() or not name.isprintable():
            raise InputInvalidError(field="query", reason="must hold printable characters only")
        values[name] = given[0]
    return convert(values, shape, strict=False)


def read_number(text: str, *, field: str, least: int = 0, most: int = LARGEST) -> int:
    """Read a number in a path.

    Raises:
        InputInvalidError: it is none, or out of range.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST)) and least <= int(text) <= most):
        raise InputInvalidError(field=field, reason=f"must be a whole number from {least} to {most}")
    return int(text)


def plausible_time(time: datetime | None, *, field: str) -> datetime | None:
    """Return a time with which sums can be made, in UTC: databases do not take every offset that a text can have.

    Raises:
        InputInvalidError: its year is before 1900 or after 9998.
    """
    if time is not None and not FIRST_YEAR <= time.year <= LAST_YEAR:
        raise InputInvalidError(field=field, reason=f"must lie in the years {FIRST_YEAR} to {LAST_YEAR}")
    return None if time is None else time.astimezone(UTC)
