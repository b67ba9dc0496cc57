"""What a connection to the stream tells a gate: frames in, permissions out; nothing here does I/O.

The rules are those of PROTOCOL R3 and R6. A permission's deadline comes from the server's clock as this connection has
seen it since its request was sent, so a frame that waited in a buffer is old on arrival. When it arrived bounds it too:
nothing that a broken line makes of a frame can lengthen it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum

from qmtl_worlds.contracts.activation import ActivationReason, supersedes
from qmtl_worlds.contracts.lease import EXPIRED, StreamClock, read_deadline
from qmtl_worlds.sdk.errors import ReplyInvalidError, StreamEndedError
from qmtl_worlds.sdk.frames import End, Entry, Frame, FrameKind, read_frame
from qmtl_worlds.sdk.permission import Permission, grant
from qmtl_worlds.sdk.sse import EventParser
from qmtl_worlds.sdk.verdict import GateRules

Book = Mapping[str, Permission]
"""What is held, by side."""


class Heard(StrEnum):
    """What came of a frame: a state was taken, what is held was renewed, or the frame was too old for either."""

    TAKEN = "taken"
    RENEWED = "renewed"
    REFUSED = "refused"


class Hearing:
    """One connection: its parser, and its view of the server's clock. A reconnect needs a new one."""

    def __init__(self, *, sent_at: float, world_id: str, strategy_id: str, rules: GateRules) -> None:
        """Begin with nothing heard; ``sent_at`` is the monotonic time just before the request was sent."""
        self._sent_at = sent_at
        self._world_id = world_id
        self._strategy_id = strategy_id
        self._rules = rules
        self._parser = EventParser()
        self._clock: StreamClock | None = None
        self._latest_ms = -math.inf
        self.lag_seconds = 0.0
        """How much older than its arrival the last frame was, as this connection sees the server's clock."""

    @property
    def retry_ms(self) -> int | None:
        """Return how long the server wants to be left alone after this connection."""
        return self._parser.retry_ms

    def read(self, data: bytes) -> list[Frame | End]:
        """Take in what arrived and return the frames that it completes.

        Raises:
            ReplyInvalidError: there is something among it that proves nothing.
        """
        read = (
            read_frame(event, world_id=self._world_id, strategy_id=self._strategy_id)
            for event in self._parser.feed(data)
        )
        return [frame for frame in read if frame is not None]

    def hear(self, book: Book, frame: Frame | End, *, now: float) -> tuple[Book, Heard]:
        """Return what to hold after ``frame``, which arrived at ``now``, and what came of it.

        Raises:
            StreamEndedError: it was the last; what is held counts no more.
            ReplyInvalidError: what is held cannot be told from this connection; a new one must begin with a snapshot.
        """
        if isinstance(frame, End):
            raise StreamEndedError(frame.reason)
        clock = self._clock = self._clock or StreamClock(self._sent_at, frame.server_ms)
        self.lag_seconds = now - clock.moment(frame.server_ms)
        is_late = frame.server_ms < self._latest_ms
        self._latest_ms = max(self._latest_ms, frame.server_ms)
        deadline = min(
            clock.deadline(server_ms=frame.server_ms, lease_ms=frame.lease_ms),
            read_deadline(sent=now, lease_ms=frame.lease_ms),
        )
        if frame.kind is FrameKind.HEARTBEAT:
            told = {} if is_late else {side: _renewed(held, frame, deadline) for side, held in book.items()}
        else:
            told = {
                side: self._taken(held, frame.entries[side], deadline, clock, is_late=is_late)
                for side, held in book.items()
                if side in frame.entries
            }
        changed = {side: held for side, held in told.items() if held is not book[side]}
        if not changed:
            return book, Heard.REFUSED
        return {**book, **changed}, Heard.RENEWED if frame.kind is FrameKind.HEARTBEAT else Heard.TAKEN

    def _taken(
        self, held: Permission, entry: Entry, deadline: float, clock: StreamClock, *, is_late: bool
    ) -> Permission:
        offered = entry.activation
        is_repeat = held.activation is not None and held.activation.etag == offered.etag
        if (is_late and is_repeat) or not supersedes(offered, held.activation):
            return held
        ends_at = math.inf
        if entry.changes_at_ms is not None and offered.active:
            ends_at = clock.moment(entry.changes_at_ms)
        if offered.reason == ActivationReason.UNCONFIRMED:
            return grant(offered, deadline=EXPIRED, rules=self._rules)
        return grant(offered, deadline=min(deadline, ends_at), rules=self._rules, ends_at=ends_at)


def is_outdated(book: Book, *, now: float) -> bool:
    """Tell whether an activation has changed by itself meanwhile: a stream does not tell, only a new one does."""
    return any(held.ends_at is not None and now >= held.ends_at for held in book.values())


def _renewed(held: Permission, frame: Frame, deadline: float) -> Permission:
    """Renew what the frame is about; what is held from an answer that only its own lease bounds must be told anew."""
    at = held.activation.position if held.activation else None
    if at is not None and frame.position < at:
        return held
    if frame.position != at or held.ends_at is None:
        raise ReplyInvalidError(f"renewed is {frame.position.text}, which was not told in full")
    return replace(held, deadline=min(deadline, held.ends_at))
