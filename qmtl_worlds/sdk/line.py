"""How a gate hears of changes: its settings, which of them it refuses, and when it connects again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from qmtl_worlds.contracts.lease import MAX_LEASE_MS
from qmtl_worlds.sdk.errors import GateSettingsError

BEATS_PER_LEASE: Final = 3
"""How often the server renews a healthy stream in one lease, and how often a gate asks without one."""
SILENCE_LEASES: Final = 2 / 3
"""After how much of a lease a silent stream counts as dead: there is time left to ask by another way."""
FIRST_FRAME_SECONDS: Final = 2.0
"""How long connecting and the first frame may take."""
RETRY_SECONDS: Final = 1.0
LONGEST_RETRY_SECONDS: Final = 15.0
_MAX_LEASE_SECONDS: Final = MAX_LEASE_MS / 1000


@dataclass(frozen=True, slots=True)
class LineSettings:
    """How a gate is connected; what is None follows from the world's lease.

    ``client_id`` names this process to operators. ``stream=False`` only polls. ``lease_seconds`` is the world's lease
    where it is known beforehand: then settings that do not fit are refused before the gate starts. A stream that is
    silent for ``read_timeout_seconds`` is given up; without a stream the gate asks every ``poll_seconds``.

    Raises:
        GateSettingsError: they do not fit each other or ``lease_seconds``.
    """

    client_id: str | None = None
    stream: bool = True
    lease_seconds: float | None = None
    read_timeout_seconds: float | None = None
    poll_seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work under any lease, or not under the one given."""
        self.check(self.lease_seconds)

    def check(self, lease_seconds: float | None) -> None:
        """Refuse settings under which a healthy stream, or healthy polling, would let the lease lapse.

        Raises:
            GateSettingsError: they would, under ``lease_seconds`` (None: under the longest there is).
        """
        lease = _MAX_LEASE_SECONDS if lease_seconds is None else lease_seconds
        if not 0 < lease <= _MAX_LEASE_SECONDS:
            raise GateSettingsError(f"lease_seconds must be in (0, {_MAX_LEASE_SECONDS:g}], not {lease:g}")
        for name in ("read_timeout_seconds", "poll_seconds"):
            value: float | None = getattr(self, name)
            if value is not None and not 0 < value < lease:
                raise GateSettingsError(f"{name} is {value:g}: must be over 0 and under the lease of {lease:g} s")
        beat = lease / BEATS_PER_LEASE
        if lease_seconds is not None and self.read_timeout_seconds is not None and self.read_timeout_seconds <= beat:
            raise GateSettingsError(
                f"read_timeout_seconds is {self.read_timeout_seconds:g}: a healthy stream is silent for {beat:g} s"
            )

    @property
    def needs_lease(self) -> bool:
        """Tell whether the world's lease has to be known before these settings can be trusted."""
        given = self.read_timeout_seconds is not None or self.poll_seconds is not None
        return given and self.lease_seconds is None

    def silence_seconds(self, lease_seconds: float | None) -> float:
        """Return how long a stream may be silent; ``lease_seconds`` is what it grants, None where it grants nothing."""
        if self.read_timeout_seconds is not None:
            return self.read_timeout_seconds
        return SILENCE_LEASES * (_MAX_LEASE_SECONDS if lease_seconds is None else lease_seconds)


@dataclass(slots=True)
class Reconnect:
    """When to connect again: as the server wished the last time, doubling while nothing is heard, spread out.

    ``spread`` returns a number in [0, 1), such as ``random.random``.
    """

    spread: Callable[[], float]
    failures: int = 0

    def pause_seconds(self, *, heard: bool, retry_ms: int | None) -> float:
        """Return how long to stay away after a connection that was ``heard`` something on, or not."""
        self.failures = 0 if heard else self.failures + 1
        wished = RETRY_SECONDS if retry_ms is None else retry_ms / 1000
        doubled = wished * 2 ** min(self.failures, 10)
        return float(min(LONGEST_RETRY_SECONDS, doubled) * (0.5 + self.spread()))
