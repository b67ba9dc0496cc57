"""Which Runners this process hears from, what they hold, and how long each took to have it.

For display, never for a decision; in memory, and from there in batches to the rows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.contracts.lease import Position
from worlds.live.store import LiveWorld

MOST_SESSIONS: Final = 50_000
REFRESH_SECONDS: Final = 15.0
"""Somebody who holds what it held is noted again after so long."""
LOST_SECONDS: Final = 600.0
NOTHING: Final = Position(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Session:
    """One Runner as last heard; times are monotonic seconds.

    ``skew_ms`` is from the commit of the newest change to the word that the Runner has it, None until it took part in
    a change.
    """

    world_id: str
    client_id: str
    token: str
    connection: str
    held: Position
    skew_ms: float | None
    connected_at: float
    seen_at: float
    acknowledged_at: float | None


class Sessions:
    """The Runners by world and client id; the loop writes, the scribe takes away what is new."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._sessions: dict[tuple[str, str], Session] = {}
        self._noted_at: dict[tuple[str, str], float] = {}
        self._new: dict[tuple[str, str], Session] = {}
        self._guard = threading.Lock()

    def hear(self, world: LiveWorld, *, client_id: str, token: str, connection: str, holds: Position | None) -> None:
        """Note that a Runner asked; ``holds`` is the position that it proved to have, None where it proved nothing."""
        now, name = boot_time(), (world.world_id, client_id)
        known = self._sessions.get(name)
        if known is None:
            known = Session(world.world_id, client_id, token, connection, NOTHING, None, now, now, None)
        heard = replace(known, token=token, connection=connection, seen_at=now)
        if holds is not None and holds >= known.held:
            skew = _skew_ms(world, known, holds, now=now) if holds > known.held else known.skew_ms
            heard = replace(heard, held=holds, skew_ms=skew, acknowledged_at=now)
        self._keep(name, heard, changed=heard.held != known.held or heard.connection != known.connection, now=now)

    def take_new(self) -> tuple[Session, ...]:
        """Return what has not been written yet, and forget who was not heard of for long. From any thread."""
        with self._guard:
            new, self._new = self._new, {}
        before = boot_time() - LOST_SECONDS
        for name, session in tuple(self._sessions.items()):
            if session.seen_at < before:
                self._sessions.pop(name, None)
                self._noted_at.pop(name, None)
        return tuple(new.values())

    def all(self) -> Iterator[Session]:
        """Return everyone that is known now."""
        return iter(tuple(self._sessions.values()))

    def _keep(self, name: tuple[str, str], session: Session, *, changed: bool, now: float) -> None:
        if name not in self._sessions and len(self._sessions) >= MOST_SESSIONS:
            return
        self._sessions[name] = session
        if changed or now - self._noted_at.get(name, -REFRESH_SECONDS) >= REFRESH_SECONDS:
            self._noted_at[name] = now
            with self._guard:
                self._new[name] = session


def _skew_ms(world: LiveWorld, known: Session, holds: Position, *, now: float) -> float | None:
    """Return how long a state took to a Runner; whoever came after it was not waiting for it."""
    age = world.age_ms(holds, now=now)
    return age if age is not None and now - age / 1000 >= known.connected_at else known.skew_ms
