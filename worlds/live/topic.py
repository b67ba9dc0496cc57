"""Those who stream one world in one process: woken together, each given what it has not seen."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import Final

from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.contracts.lease import Position
from worlds.live.frames import (
    ACTIVATION,
    HEARTBEAT,
    SNAPSHOT,
    clock_of,
    end,
    entries_between,
    entries_of,
    event,
)
from worlds.live.handover import begin
from worlds.live.reader import Left, LeftError, Put, Reader
from worlds.live.snapshot import WorldSnapshot
from worlds.live.store import LiveWorld

BEATS_PER_LEASE: Final = 3
MOST_SILENT_BEATS: Final = 2
"""A reader that takes nothing for so many heartbeats is cut off."""
RETRY_MS: Final = (500, 1500)
AT_ONCE: Final = 200
"""So many readers are told in one turn of the loop."""


class Topic:
    """The readers of one world, on the event loop: woken together, served with shared bytes."""

    def __init__(self, world: LiveWorld, loop: asyncio.AbstractEventLoop) -> None:
        """Begin without readers."""
        self.world = world
        self._loop = loop
        self._readers: set[Reader] = set()
        self._parked: list[Reader] = []
        self._version = 0
        self._beats = 0
        self._timer: asyncio.TimerHandle | None = None
        self._frames: dict[Hashable, bytes] = {}

    @property
    def is_empty(self) -> bool:
        """Tell whether nobody reads."""
        return not self._readers

    async def serve(self, reader: Reader, put: Put, left: Left, *, last_seen: Position | None) -> None:
        """Tell a reader everything, until its token is revoked or the world is gone.

        Raises:
            LeftError: it has left.
        """
        self._enter(reader, put)
        try:
            await self._begin(reader, put, last_seen)
            await self._tell(reader, put)
            while (reason := self._over(reader)) is None:
                await self._something_new(reader, left)
                await self._tell(reader, put)
            await self._put(reader, put, end(reason))
        finally:
            self._leave(reader)

    def wake(self) -> None:
        """Tell the loop, from any thread, that there is something new."""
        self._loop.call_soon_threadsafe(self._publish)

    async def _begin(self, reader: Reader, put: Put, last_seen: Position | None) -> None:
        """Begin with a snapshot, or with a heartbeat and then the rest where ``last_seen`` is remembered.

        The first frame is made for this connection: the reader counts its leases from it. What is killed is told in
        full: a kill that only a file stands for has the position of the state before it.
        """
        reader.beats, now = self._beats, boot_time()
        states = tuple(self.world.recent)
        known = next((state for state in reversed(states) if state.position == last_seen), None)
        if known is None or known.is_killed:
            state = states[-1]
            clock = clock_of(self.world.confirmed, state, now=now, leased=reader.leased)
            frame = event(SNAPSHOT, state, clock, self._entries(reader, state, now=now))
        else:
            state = known
            clock = clock_of(self.world.confirmed, state, now=now, leased=reader.leased)
            frame = event(HEARTBEAT, state, clock)
        retry = b"retry: %d\n\n" % random.randint(*RETRY_MS)  # noqa: S311 - it only spreads reconnects
        await self._put(reader, put, retry + frame)
        reader.seen = state

    async def _something_new(self, reader: Reader, left: Left) -> None:
        """Wait until there is something that could not be told at once."""
        if reader.version == self._version:
            reader.parked = True
            self._parked.append(reader)
            try:
                await left()
            except asyncio.CancelledError:
                if not reader.was_woken():
                    raise
            else:
                raise LeftError
        if reader.unfinished is not None:
            unfinished, reader.unfinished = reader.unfinished, None
            reader.putting_since = self._loop.time()
            await unfinished
            reader.putting_since = None
        reader.version = self._version

    async def _tell(self, reader: Reader, put: Put) -> None:
        """Give a reader the states that it has not seen, one by one; the latest alone where it is too far behind."""
        states = tuple(self.world.recent)
        place = _place_of(reader.seen, states)
        if place is None or _is_urgent(states[place], states[-1]):
            await self._put_state(reader, put, None, states[-1])
        else:
            for before, state in pairwise(states[place:]):
                await self._put_state(reader, put, before, state)
        if reader.beats != self._beats:
            reader.beats = self._beats
            if beat := self._beat_of(reader):
                await self._put(reader, put, beat)

    async def _put_state(self, reader: Reader, put: Put, before: WorldSnapshot | None, state: WorldSnapshot) -> None:
        await self._put(reader, put, self._step(reader, before, state))
        reader.seen = state

    def _step(self, reader: Reader, before: WorldSnapshot | None, state: WorldSnapshot) -> bytes:
        """Return the frame from one state to another, made once for all who see the same."""
        what = (before, state, reader.audience)
        if (frame := self._frames.get(what)) is None:
            now = boot_time()
            clock = clock_of(self.world.confirmed, state, now=now, leased=reader.leased)
            if before is None:
                frame = event(SNAPSHOT, state, clock, self._entries(reader, state, now=now))
            else:
                frame = event(ACTIVATION, state, clock, entries_between(before, state, reader.wanted, now=now))
            self._frames[what] = frame
        return frame

    def _entries(self, reader: Reader, state: WorldSnapshot, *, now: float) -> bytes:
        """Return all that a stream is about, once for all who connect between two beats."""
        what = (state, reader.audience)
        if (entries := self._frames.get(what)) is None:
            entries = self._frames[what] = entries_of(state, reader.wanted, now=now)
        return entries

    def _beat_of(self, reader: Reader) -> bytes:
        """Return what renews what the reader holds; nothing where that is not what the rows said last."""
        held = self.world.confirmed
        if reader.seen is None or not held.snapshot.is_same_as(reader.seen):
            return b""
        if (frame := self._frames.get(reader.leased)) is None:
            clock = clock_of(held, held.snapshot, now=boot_time(), leased=reader.leased)
            frame = self._frames[reader.leased] = event(HEARTBEAT, held.snapshot, clock)
        return frame

    async def _put(self, reader: Reader, put: Put, frame: bytes) -> None:
        reader.putting_since = self._loop.time()
        await put(frame)
        reader.putting_since = None

    def _over(self, reader: Reader) -> str | None:
        if not reader.caller.is_live(boot_time()):
            return "revoked"
        return "gone" if self.world.gone else None

    def _publish(self) -> None:
        self._version += 1
        self._frames.clear()
        parked, self._parked = self._parked, []
        for start in range(0, len(parked), AT_ONCE):  # reads have their turn in between
            self._loop.call_soon(self._tell_parked, parked[start : start + AT_ONCE])

    def _tell_parked(self, readers: Sequence[Reader]) -> None:
        """Write to those who have taken everything so far; wake the others."""
        for reader in readers:
            if not reader.parked:
                continue
            try:
                is_told = self._tell_at_once(reader)
            except LeftError:
                reader.cut()
                continue
            if is_told:
                reader.version = self._version
                self._parked.append(reader)
            else:
                reader.wake()

    def _tell_at_once(self, reader: Reader) -> bool:
        """Tell a reader what is new, where that is urgent, one step or a beat, and it takes it without waiting."""
        states, seen = self.world.recent, reader.seen
        latest, before = states[-1], states[-2] if len(states) > 1 else None
        if self._over(reader) is not None or reader.put is None or seen is None:
            return False
        if seen is latest:
            frame = b""
        elif (is_urgent := _is_urgent(seen, latest)) or seen is before:
            frame = self._step(reader, None if is_urgent else seen, latest)
        else:
            return False
        reader.seen = latest
        if reader.beats != self._beats:
            reader.beats = self._beats
            frame += self._beat_of(reader)
        reader.unfinished = begin(reader.put(frame)) if frame else None
        return reader.unfinished is None

    def _beat(self) -> None:
        self._beats += 1
        self._cut_silent()
        self._publish()
        self._timer = self._loop.call_later(self._interval, self._beat)

    @property
    def _interval(self) -> float:
        return self.world.confirmed.snapshot.lease_seconds / BEATS_PER_LEASE

    def _cut_silent(self) -> None:
        before = self._loop.time() - MOST_SILENT_BEATS * self._interval
        for reader in self._readers:
            if reader.putting_since is not None and reader.putting_since < before:
                reader.cut()

    def _enter(self, reader: Reader, put: Put) -> None:
        if not self._readers:
            self.world.wakes.add(self.wake)
            self._timer = self._loop.call_later(self._interval, self._beat)
        self._readers.add(reader)
        reader.put = put
        reader.version = self._version

    def _leave(self, reader: Reader) -> None:
        self._readers.discard(reader)
        reader.let_go()
        if not self._readers:
            self.world.wakes.discard(self.wake)
            if self._timer is not None:
                self._timer.cancel()


def _place_of(seen: WorldSnapshot | None, states: tuple[WorldSnapshot, ...]) -> int | None:
    """Return where a reader stands among the last states; most stand at the last one but one."""
    if seen is None:
        return None
    return next((at for at in range(len(states) - 1, -1, -1) if states[at].is_same_as(seen)), None)


def _is_urgent(seen: WorldSnapshot, latest: WorldSnapshot) -> bool:
    """Tell whether somebody was killed meanwhile: then nothing else is told first."""
    return latest.position.hold_sequence > seen.position.hold_sequence
