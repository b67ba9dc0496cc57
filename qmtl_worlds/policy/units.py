"""Lengths as a policy writes them: ``5m``, ``3h``, ``60d``; a length in sessions is days only."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from pydantic_core import PydanticCustomError

from qmtl_worlds.contracts.metric_names import MAX_WINDOW_DAYS

DURATION_PATTERN: Final = r"(0|[1-9][0-9]{0,8})(s|m|h|d)"
SESSIONS_PATTERN: Final = r"(0|[1-9][0-9]{0,8})d"
MAX_DURATION: Final = timedelta(days=3650)

_DURATION = re.compile(DURATION_PATTERN)
_SESSIONS = re.compile(SESSIONS_PATTERN)
_UNIT_SECONDS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


def parse_duration(value: object) -> timedelta:
    """Read ``90s``, ``5m``, ``3h`` or ``2d`` (24 hours each), zero to ten years.

    Raises:
        PydanticCustomError: ``bad-duration`` or ``out-of-range``.
    """
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise PydanticCustomError("bad-duration", "must be a length such as 30s, 5m, 3h or 2d")
    seconds = int(match[1]) * _UNIT_SECONDS[match[2]]
    if seconds > MAX_DURATION.total_seconds():
        raise PydanticCustomError("out-of-range", "must be at most 3650d")
    return timedelta(seconds=seconds)


def format_duration(value: timedelta) -> str:
    """Write a length of whole seconds in its largest exact unit: 3600 s is ``1h``, nothing is ``0s``."""
    seconds = int(value.total_seconds())
    for unit, size in _UNIT_SECONDS.items():
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return "0s"


def parse_sessions(value: object) -> int:
    """Read ``60d`` as 60 sessions of the world's calendar, zero to ``MAX_WINDOW_DAYS``.

    Raises:
        PydanticCustomError: ``bad-duration`` or ``out-of-range``.
    """
    match = _SESSIONS.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise PydanticCustomError("bad-duration", "must be a number of sessions such as 60d")
    if int(match[1]) > MAX_WINDOW_DAYS:
        raise PydanticCustomError("out-of-range", "must be at most {limit}d", {"limit": MAX_WINDOW_DAYS})
    return int(match[1])


def format_sessions(days: int) -> str:
    """Write a number of sessions: 60 is ``60d``."""
    return f"{days}d"
