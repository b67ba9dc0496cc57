"""What this process notes of what it answers: plain numbers for ``/metrics``, and which Runners asked."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from worlds.live.failures import Failures
from worlds.live.sessions import Sessions


@dataclass(slots=True)
class Counts:
    """Counted on the event loop alone.

    ``answers`` is by route and status, ``unconfirmed`` the activations that said so, ``refusals`` by code.
    """

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    unconfirmed: int = 0


@dataclass(frozen=True, slots=True)
class Books:
    """All that is noted."""

    counts: Counts = field(default_factory=Counts)
    sessions: Sessions = field(default_factory=Sessions)
    failures: Failures = field(default_factory=Failures)
