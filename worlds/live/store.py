"""What this process holds in memory: a snapshot of each world that somebody asks for, and who asks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from qmtl_worlds.contracts.lease import Position
from worlds.live.snapshot import WorldSnapshot

REMEMBERED: Final = 16
"""How many past states a stream can be given one by one; whoever is further behind gets the latest."""

Wake = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A snapshot and the monotonic time before the reading that last confirmed it (R1), swapped together."""

    snapshot: WorldSnapshot
    at: float


class LiveWorld:
    """One world as this process knows it. Only the keeper's thread writes, each time by one assignment.

    ``recent`` holds the last whole states, oldest first; ``wakes`` are called, from the keeper's thread, at every new
    one. ``births`` has when, on the monotonic clock, those came about that were seen to come.
    """

    __slots__ = ("asked_at", "births", "confirmed", "gone", "recent", "streams", "wakes", "world_id")

    def __init__(self, world_id: str, confirmed: Confirmed) -> None:
        """Begin with the first reading."""
        self.world_id = world_id
        self.confirmed = confirmed
        self.recent: deque[WorldSnapshot] = deque([confirmed.snapshot], maxlen=REMEMBERED)
        self.births: deque[tuple[Position, float]] = deque(maxlen=REMEMBERED)
        self.asked_at = confirmed.at
        self.gone = False
        self.streams = 0
        self.wakes: set[Wake] = set()

    def confirm(self, *, at: float) -> None:
        """Note that the rows still say the same; an older confirmation changes nothing."""
        held = self.confirmed
        if at > held.at:
            self.confirmed = Confirmed(held.snapshot, at)

    def replace(self, snapshot: WorldSnapshot, *, at: float) -> None:
        """Take a newer state; one that is older than the held one is not taken (I6).

        A reading that never came out whole closes the answers, and no stream is told of it: their leases lapse.
        """
        held = self.confirmed
        if snapshot.position < held.snapshot.position or at < held.at:
            return
        self.confirmed = Confirmed(snapshot, at)
        if not snapshot.facts.confirmed:
            return
        latest = self.recent[-1]
        if snapshot.is_same_as(latest):
            self.recent[-1] = snapshot
        else:
            is_change = snapshot.position.sequence > latest.position.sequence  # a kill has no time of its own here
            born = snapshot.read_at - (snapshot.told_after_seconds if is_change else 0.0)
            self.births.append((snapshot.position, born))
            self.recent.append(snapshot)
            self.wake()
        if latest is not snapshot:
            latest.forget_answers()

    def age_ms(self, position: Position, *, now: float) -> float | None:
        """Return how long ago a state came about, None where this process did not see it come."""
        return next((1000 * (now - born) for at, born in tuple(self.births) if at == position), None)

    def wake(self) -> None:
        """Tell everyone who waits that there is something new."""
        for wake in tuple(self.wakes):
            wake()


class LiveStore:
    """The worlds of this process, by id; reading takes no lock."""

    def __init__(self) -> None:
        """Begin empty."""
        self.worlds: dict[str, LiveWorld] = {}

    def find(self, world_id: str) -> LiveWorld | None:
        """Return the world where it was loaded."""
        return self.worlds.get(world_id)

    def drop_idle(self, *, before: float) -> None:
        """Forget worlds that nobody streams and nobody has asked for since ``before`` (monotonic)."""
        for world_id, world in tuple(self.worlds.items()):
            if not world.wakes and world.asked_at < before:
                del self.worlds[world_id]
