"""Names of things: what a legal id looks like, and the ids that follow from other ids."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final

from qmtl_worlds.contracts.errors import InputInvalidError

WORLD_ID_PATTERN: Final = r"[a-z0-9][a-z0-9_-]{0,62}"
"""World ids: lower case, at most 63 characters."""
OBJECT_ID_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,127}"
"""Strategy, run and client ids: at most 128 characters."""

_WORLD_ID = re.compile(WORLD_ID_PATTERN)
_OBJECT_ID = re.compile(OBJECT_ID_PATTERN)


class Side(StrEnum):
    """The direction in which an instance takes risk; part of its identity."""

    LONG = "long"
    SHORT = "short"


@dataclass(frozen=True, slots=True, order=True)
class InstanceKey:
    """One (strategy, side) within a world; ``text`` is its form in hashes, payloads and Redis fields."""

    strategy_id: str
    side: Side

    def __hash__(self) -> int:
        """Return the hash of the name alone: the two sides of a strategy are few enough to share one."""
        return hash(self.strategy_id)

    @property
    def text(self) -> str:
        """Return ``strategy_id|side``; ``|`` occurs in no strategy id."""
        return f"{self.strategy_id}|{self.side.value}"

    @classmethod
    @lru_cache(maxsize=32_768)  # sets, plans and decisions name the same few, again and again
    def from_text(cls, text: str) -> InstanceKey:
        """Parse ``strategy_id|side``.

        Raises:
            InputInvalidError: the text is no instance key.
        """
        strategy_id, _, side = text.partition("|")
        return cls(check_object_id(strategy_id, field="strategy_id"), check_side(side))


def check_world_id(text: str) -> str:
    """Return ``text`` if it is a legal world id.

    Raises:
        InputInvalidError: it is not.
    """
    if not is_world_id(text):
        raise InputInvalidError(field="world_id", reason=f"must match ^{WORLD_ID_PATTERN}$")
    return text


def is_world_id(text: str) -> bool:
    """Tell whether ``text`` is a legal world id."""
    return _WORLD_ID.fullmatch(text) is not None


def is_object_id(text: str) -> bool:
    """Tell whether ``text`` is a legal strategy, run or client id."""
    return _OBJECT_ID.fullmatch(text) is not None


def check_object_id(text: str, *, field: str) -> str:
    """Return ``text`` if it is a legal strategy, run or client id; ``field`` names it in the error.

    Raises:
        InputInvalidError: it is not.
    """
    if not is_object_id(text):
        raise InputInvalidError(field=field, reason=f"must match ^{OBJECT_ID_PATTERN}$")
    return text


def check_side(text: str) -> Side:
    """Return the side that ``text`` names.

    Raises:
        InputInvalidError: it is neither ``long`` nor ``short``.
    """
    try:
        return Side(text)
    except ValueError as error:
        raise InputInvalidError(field="side", reason="must be long or short") from error


def scheduled_run_id(world_id: str, slot: datetime) -> str:
    """Name the evaluation run of a schedule slot (an aware time), the same on every machine."""
    return f"slot:{world_id}:{slot.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def apply_run_id(evaluation_run_id: str) -> str:
    """Name the apply run that carries out an evaluation's plan."""
    return f"apply:{evaluation_run_id}"[:128]
