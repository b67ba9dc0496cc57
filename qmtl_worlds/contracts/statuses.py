"""What a metric's value is worth."""

from __future__ import annotations

from enum import IntEnum


class MetricStatus(IntEnum):
    """Whether a value may be used; stored as one byte, so the numbers are forever.

    Only OK may satisfy a gate. INSUFFICIENT: too few observations. UNDEFINED: a divisor is zero or the value is not
    finite. STALE: the data behind it are older than the policy allows; whoever knows the clock sets it.
    """

    OK = 0
    INSUFFICIENT = 1
    UNDEFINED = 2
    STALE = 3

    @property
    def word(self) -> str:
        """Return the name as it goes over the wire: ``ok``, ``insufficient``, ``undefined`` or ``stale``."""
        return self.name.lower()
