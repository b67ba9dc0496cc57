"""What one tick process remembers from one tick to the next; losing it costs a full reading of each world."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import structlog

from qmtl_worlds.contracts.lease import Position
from worlds.stores.redis_projection import CopyMark

FULL_READING_SECONDS: Final = 4.0
"""Content is read again at least so often, whatever the position says (I26 gives 5 s)."""
_TOLD_AGAIN_SECONDS: Final = 60.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    """The content of a world as it was last read whole.

    ``true_until`` is when time alone may change it (world's clock), None for never; ``read_at`` is monotonic.
    """

    mark: CopyMark
    lease_ms: int
    true_until: datetime | None
    read_at: float

    def still_true(self, *, position: Position, lease_ms: int, at: datetime) -> bool:
        """Tell whether a reading now would give the same."""
        current = (self.mark.position, self.lease_ms) == (position, lease_ms)
        recent = time.monotonic() - self.read_at < FULL_READING_SECONDS
        return current and recent and (self.true_until is None or at <= self.true_until)


@dataclass(slots=True)
class Drift:
    """Repairs of one world's copy that follow each other; ``last`` is monotonic."""

    last: float
    count: int = 0


@dataclass(slots=True)
class Memory:
    """By world: its content, the highest position read from rows, and repairs; and which were compared with Redis."""

    known: dict[str, Known] = field(default_factory=dict)
    highest: dict[str, Position] = field(default_factory=dict)
    compared: set[str] = field(default_factory=set)
    drifts: dict[str, Drift] | None = None


@dataclass(slots=True)
class Outage:
    """Something we need is away: told when it begins, each minute while it lasts, and when it is over.

    Whoever can do without it asks ``is_costly`` first: trying again would cost as long a wait as it just did.
    """

    event: str
    _failures: int = 0
    _told_at: float = 0.0
    _spare_until: float = 0.0

    def failed(self, *, since: float, **facts: object) -> None:
        """Note a failure of a try that began at ``since`` (monotonic)."""
        now = time.monotonic()
        self._failures += 1
        self._spare_until = now + 2 * (now - since)
        if self._failures == 1 or now - self._told_at >= _TOLD_AGAIN_SECONDS:
            self._told_at = now
            _log.warning(self.event, failures=self._failures, **facts)

    def over(self) -> None:
        """Note a success."""
        if self._failures:
            _log.warning(f"{self.event}_over", failures=self._failures)
            self._failures, self._spare_until = 0, 0.0

    @property
    def is_costly(self) -> bool:
        """Tell whether the last try failed slowly, a moment ago."""
        return time.monotonic() < self._spare_until
