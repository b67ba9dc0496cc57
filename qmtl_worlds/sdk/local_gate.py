"""What every gate holds and how it answers; how it hears is up to the gates for threads and for asyncio."""

from __future__ import annotations

import random
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.lease import EXPIRED, MAX_LEASE_MS, Position
from qmtl_worlds.sdk.errors import GateSettingsError, ReplyInvalidError, ServerUnreachableError, StreamEndedError
from qmtl_worlds.sdk.frames import End, Frame
from qmtl_worlds.sdk.hearing import Book, Heard, Hearing, is_outdated
from qmtl_worlds.sdk.line import BEATS_PER_LEASE, FIRST_FRAME_SECONDS, Reconnect
from qmtl_worlds.sdk.permission import ActivationReading, no_permission, renew
from qmtl_worlds.sdk.verdict import GateRules, GateStatus, Verdict

IDLE_POLL_SECONDS: Final = 1.0
"""How often to ask, at least, while no lease comes back."""
MIN_POLL_SECONDS: Final = 0.05
MOST_LAG: Final = 0.5
"""Share of its lease by which a stream may be behind: each permission on a connection that took long to open, or that
lags, ends that much sooner, and never recovers; a new connection does.
"""
CLIENT_ID_LENGTH: Final = 128


@dataclass(slots=True)
class Counts:
    """What a gate has heard: states taken, leases renewed, frames refused as too old, connections made, polls."""

    taken: int = 0
    renewed: int = 0
    refused: int = 0
    connected: int = 0
    polls: int = 0


class LocalGate:
    """A gate that answers from memory: closed until proven open, and again when the proof is too old.

    One task or thread changes what is held, by single assignments; any number of threads may call ``check``.
    """

    def __init__(
        self,
        *,
        world_id: str,
        strategy_id: str,
        sides: Iterable[str],
        rules: GateRules,
        monotonic: Callable[[], float],
    ) -> None:
        """Prepare a closed gate for the given sides."""
        self._world_id = world_id
        self._strategy_id = strategy_id
        self._rules = rules
        self._monotonic = monotonic
        self._shut = no_permission(rules)
        self._held: Book = {Side(side).value: self._shut for side in sides}
        self._ending = False
        self._failure: str | None = None
        self._pause_seconds = IDLE_POLL_SECONDS
        self._lease_seconds: float | None = None
        self._may_resume = False
        self._has_heard = False
        self._heard_at = 0.0
        self._reconnect = Reconnect(random.random)
        self.client_id = rules.line.client_id or _client_id(strategy_id)
        self.counts = Counts()

    def check(self, side: str, *, reduces: bool | None = None) -> Verdict:
        """Judge an order of ``side``; ``reduces=None`` (not known) counts as increasing risk.

        A side the gate was not made for is closed. Takes no lock and does no I/O.
        """
        try:
            held = self._held[side]
        except KeyError:
            held = self._shut
        if self._monotonic() < held.deadline:
            return held.exit if reduces is True else held.entry
        return held.late_exit if reduces is True else held.late_entry

    @property
    def status(self) -> GateStatus:
        """Return the state of the worst informed side."""
        held, now = tuple(self._held.values()), self._monotonic()
        if all(now < one.deadline for one in held):
            return GateStatus.READY
        if self._failure is not None:
            return GateStatus.ERROR
        return GateStatus.STALE if all(one.activation is not None for one in held) else GateStatus.NOT_READY

    @property
    def failure(self) -> str | None:
        """Return what went wrong when the gate last asked or listened, None where nothing did."""
        return self._failure

    @property
    def position(self) -> Position | None:
        """Return the oldest position that a side is at: so far everything was heard. None before the first answer."""
        found = [one.activation.position if one.activation else None for one in self._held.values()]
        known = [position for position in found if position is not None]
        return min(known) if known and len(known) == len(found) else None

    @property
    def deadline(self) -> float:
        """Return when the first of the permissions ends, on the gate's monotonic clock."""
        return min((held.deadline for held in self._held.values()), default=EXPIRED)

    def _hold(self, book: Book) -> None:
        """Take what follows from an answer; a gate that is being stopped takes nothing any more."""
        if not self._ending:
            self._held = book
        if self._ending:  # told so between the two: whoever stops first says so and then shuts
            self._shut_all()

    def _shut_all(self) -> None:
        self._held = dict.fromkeys(self._held, self._shut)

    def _known_etag(self, side: str) -> str | None:
        known = self._held[side].activation
        return known.etag if known else None

    def _answered(self, side: str, reading: ActivationReading) -> float:
        """Take in the answer to one question and return its lease in milliseconds.

        Raises:
            ReplyInvalidError: it is about something else, or its times are of another clock.
        """
        self._check_clock(reading.sent_at)
        if (answer := reading.envelope) is not None:
            told = (answer.world_id, answer.strategy_id, answer.side.value)
            if told != (self._world_id, self._strategy_id, side):
                raise ReplyInvalidError(f"asked about {self._strategy_id} {side}, told about {told}")
        self._hold({**self._held, side: renew(self._held[side], reading, rules=self._rules)})
        return reading.lease_ms

    def _polled(self, leases: list[float], failure: str | None) -> float:
        """Note how a round of questions went and return after how many seconds to begin the next."""
        self.counts.polls += 1
        self._failure = failure
        self._pause_seconds = _pause_seconds(leases, before=self._pause_seconds)
        return self._rules.line.poll_seconds or self._pause_seconds

    def _listening(self, sent_at: float) -> Hearing:
        """Begin to hear a connection whose request was sent at ``sent_at``.

        Raises:
            ReplyInvalidError: that is a time of another clock.
        """
        self._check_clock(sent_at)
        self.counts.connected += 1
        self._may_resume = True
        self._has_heard, self._heard_at = False, self._monotonic()
        return Hearing(sent_at=sent_at, world_id=self._world_id, strategy_id=self._strategy_id, rules=self._rules)

    def _check_clock(self, sent_at: float) -> None:
        """Refuse what was sent later than now: a source that counts on another clock would lengthen every lease."""
        if sent_at > self._monotonic():
            raise ReplyInvalidError("was sent later than now: give the gate and its client the same clock")

    def _last_seen(self) -> Position | None:
        """Return where a new connection may go on; None where only a snapshot will do."""
        held = tuple(self._held.values())
        positions = {one.activation.position if one.activation else None for one in held}
        told_in_full = all(one.ends_at is not None for one in held) and not is_outdated(
            self._held, now=self._monotonic()
        )
        return positions.pop() if self._may_resume and told_in_full and len(positions) == 1 else None

    def _patience_seconds(self) -> float:
        """Return how long to wait for more of the stream.

        Raises:
            ServerUnreachableError: too much time has passed without anything to go by.
        """
        allowed = FIRST_FRAME_SECONDS
        if self._has_heard:
            allowed = self._rules.line.silence_seconds(self._lease_seconds)
        left = self._heard_at + allowed - self._monotonic()
        if left <= 0:
            raise ServerUnreachableError(f"the stream told nothing new for {allowed:.1f} s")
        return left

    def _take_in(self, hearing: Hearing, data: bytes) -> None:
        """Take in bytes of a stream.

        Raises:
            ServerUnreachableError: the stream has ended.
            SdkError: it cannot be gone on with.
        """
        if not data:
            raise ServerUnreachableError("the stream ended")
        try:
            for frame in hearing.read(data):
                self._hear(hearing, frame)
        except ReplyInvalidError:
            self._may_resume = False
            raise

    def _away_seconds(self, hearing: Hearing | None) -> float:
        """Return how long to stay away after a connection; ``hearing`` is None where there was none."""
        if hearing is None:
            return self._reconnect.pause_seconds(heard=False, retry_ms=None)
        return self._reconnect.pause_seconds(heard=self._has_heard, retry_ms=hearing.retry_ms)

    def _hear(self, hearing: Hearing, frame: Frame | End) -> None:
        now = self._monotonic()
        book, heard = hearing.hear(self._held, frame, now=now)
        self._hold(book)
        self._count(heard)
        if heard is Heard.REFUSED:
            return
        if not isinstance(frame, End) and frame.lease_ms > 0:
            self._lease_seconds = min(frame.lease_ms, MAX_LEASE_MS) / 1000
            if hearing.lag_seconds > MOST_LAG * self._lease_seconds:
                raise ServerUnreachableError(f"the stream is {hearing.lag_seconds:.1f} s behind, too much of its lease")
        self._failure = None
        self._has_heard, self._heard_at = True, now
        if is_outdated(self._held, now=now):
            raise ReplyInvalidError("what was told is no longer so; the stream has to begin anew")

    def _count(self, heard: Heard) -> None:
        counts = self.counts
        match heard:
            case Heard.TAKEN:
                counts.taken += 1
            case Heard.RENEWED:
                counts.renewed += 1
            case Heard.REFUSED:
                counts.refused += 1

    def _failed(self, error: Exception) -> None:
        """Note what went wrong; a stream that the server has ended for good takes its permissions with it."""
        self._failure = f"{type(error).__name__}: {error}"
        if isinstance(error, GateSettingsError):
            self._shut_all()
        if isinstance(error, StreamEndedError):
            self._hold({side: replace(held, deadline=EXPIRED) for side, held in self._held.items()})

    def _instances(self, sides: Iterable[str]) -> list[InstanceKey]:
        return [InstanceKey(self._strategy_id, Side(side)) for side in sides or self._held]


def _client_id(strategy_id: str) -> str:
    """Return a name that stays the same when the process starts again, so that it is not taken for another one."""
    host = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname()).lstrip("_.-") or "host"
    return f"{host}:{strategy_id}"[:CLIENT_ID_LENGTH]


def _pause_seconds(leases: Iterable[float], *, before: float) -> float:
    """Return a third of the shortest lease; without one, the pause before, but never a long one."""
    shortest = min((lease for lease in leases if 0 < lease <= MAX_LEASE_MS), default=None)
    if shortest is None:
        return min(before, IDLE_POLL_SECONDS)
    return max(MIN_POLL_SECONDS, shortest / 1000 / BEATS_PER_LEASE)


def first_poll_seconds(pause_seconds: float, *, spread: Callable[[], float]) -> float:
    """Return when to ask after a stream has ended: at once, but not all clients of a server in the same instant."""
    return pause_seconds / 4 * spread()
