"""One run under way, and which points can be reached by which kind of run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from qmtl_worlds.contracts.states import RunState

OF_OPERATORS: Final = ("request.", "approve.", "rollback.", "hold.", "kill.", "evaluate.")
_OF_INCREASES: Final = frozenset(
    {
        RunState.QUEUED,
        RunState.FREEZING,
        RunState.DRAINING,
        RunState.FROZEN,
        RunState.CANCELLED,
        RunState.ROLLING_BACK,
        RunState.ROLLED_BACK,
        RunState.HELD,
    }
)
"""States that a run which only takes away never comes to, or passes before anybody can be told to die there."""


@dataclass(slots=True)
class Scene:
    """One run under way: what is to die where, and until when its last worker had a lease.

    ``verb`` and ``words`` say how it was asked for; ``aborted`` that somebody was told so.
    """

    run_id: str
    target: str
    deaths: int = 0
    lease_end: datetime | None = None
    verb: str = ""
    words: Mapping[str, Any] = field(default_factory=dict)
    aborted: bool = False

    def armed(self, *points: str, nth: int = 1) -> str:
        """Return what to arm where one of ``points`` is the target."""
        return f"{self.target}=kill:{nth}" if self.target.startswith(points) else ""


def suits(point: str, *, full: bool) -> bool:
    """Tell whether the next run of a world, which takes away where that is full, can come by the point."""
    detail = point.rpartition("/")[2]
    return not full or not (point.startswith("approve.") or detail in _OF_INCREASES)
