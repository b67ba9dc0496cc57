"""How long an answer may be acted on, and which of two answers is newer (PROTOCOL R3, R6).

A permission dies by itself. Its life is counted from when the question was SENT, on the asker's monotonic clock, so
that no delay of network, proxy or scheduler can lengthen it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

MAX_LEASE_MS: Final = 60_000
"""The longest lease a world can have; a longer one in an answer is malformed."""

EXPIRED: Final = -math.inf
"""The deadline of an answer that permits nothing."""

CLOCK_DRIFT: Final = 0.001
"""How much two monotonic clocks may run apart."""

_POSITION = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})\.([0-9]{1,18})")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A point in the one order of a world's visible states; later states compare greater.

    ``incarnation`` rises on restore, ``sequence`` with every visible change, ``hold_sequence`` with every kill (which
    does not touch the sequence). All are >= 0.
    """

    incarnation: int
    sequence: int
    hold_sequence: int

    @property
    def text(self) -> str:
        """Return ``incarnation.sequence.hold_sequence``, the start of every ETag and the SSE id."""
        return f"{self.incarnation}.{self.sequence}.{self.hold_sequence}"


def find_position(text: str) -> Position | None:
    """Return the position at the start of an ETag or SSE id (quotes allowed), or None where there is none."""
    match = _POSITION.match(text.removeprefix('"'))
    return Position(*(int(part) for part in match.groups())) if match else None


def read_deadline(*, sent: float, lease_ms: float) -> float:
    """Return when a permission from one request ends, in seconds of the clock that ``sent`` was read from.

    A lease that is zero, negative, not finite or over ``MAX_LEASE_MS`` permits nothing: ``EXPIRED``.
    """
    if not 0 < lease_ms <= MAX_LEASE_MS:
        return EXPIRED
    return sent + lease_ms / 1000


@dataclass(frozen=True, slots=True)
class StreamClock:
    """One connection's view of the server's monotonic clock; a reconnect starts a new one.

    ``sent`` is when the connect was sent (seconds, own monotonic clock), ``first_server_ms`` the ``server_ms`` of the
    first frame. A frame that waited in a buffer is therefore old on arrival.
    """

    sent: float
    first_server_ms: float

    def deadline(self, *, server_ms: float, lease_ms: float) -> float:
        """Return when a permission from a frame ends; a server clock that ran backwards permits nothing."""
        if not 0 <= server_ms - self.first_server_ms < math.inf:
            return EXPIRED
        return read_deadline(sent=self.moment(server_ms), lease_ms=lease_ms)

    def moment(self, server_ms: float) -> float:
        """Return when the server's clock shows ``server_ms``, at the earliest, on one's own clock.

        A moment before the first frame is past: ``EXPIRED``.
        """
        elapsed_ms = server_ms - self.first_server_ms
        return self.sent + elapsed_ms / 1000 * (1 - CLOCK_DRIFT) if elapsed_ms >= 0 else EXPIRED


def drain_seconds(*, lease_seconds: float, slack_seconds: float) -> float:
    """Return how long after a visible close some permission may still live: the lease, clock drift and a slack."""
    return lease_seconds * (1 + CLOCK_DRIFT) + slack_seconds
