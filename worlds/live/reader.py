"""One who streams a world: what it wants, what it has seen, and how its one task is woken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from worlds.live.frames import Wanted
from worlds.live.snapshot import WorldSnapshot
from worlds.live.tokens import Caller

Put = Callable[[bytes], Coroutine[Any, Any, None]]
Left = Callable[[], Awaitable[None]]
"""What waits until the client has gone; it may be interrupted, and begun again."""


class LeftError(Exception):
    """The client has gone."""


class Reader:
    """One stream: what it wants, who reads, what it has seen."""

    __slots__ = (
        "audience",
        "beats",
        "caller",
        "leased",
        "parked",
        "put",
        "putting_since",
        "seen",
        "task",
        "unfinished",
        "version",
        "wanted",
    )

    def __init__(self, caller: Caller, wanted: Wanted, *, leased: bool) -> None:
        """Begin with nothing seen; ``leased`` tells whether what it is told may be acted on."""
        self.caller = caller
        self.wanted = wanted
        self.leased = leased
        self.audience = (wanted.strategy_id, wanted.visible, leased)
        self.seen: WorldSnapshot | None = None
        self.version = 0
        self.beats = 0
        self.putting_since: float | None = None
        self.put: Put | None = None
        self.parked = False
        self.unfinished: Coroutine[Any, Any, None] | None = None
        self.task = asyncio.current_task()

    def cut(self) -> None:
        """End the stream."""
        if self.task is not None:
            self.task.cancel()

    def wake(self) -> None:
        """Interrupt the wait for the client to go away: one task serves a stream, and that is where it is parked."""
        self.parked = False
        self.cut()

    def was_woken(self) -> bool:
        """Tell whether a cancellation was a waking and nothing more."""
        return not self.parked and self.task is not None and self.task.uncancel() == 0

    def let_go(self) -> None:
        """Hold nothing of the connection any more: among the parked a reader stays until there is something new."""
        self.parked = False
        self.put = self.task = self.unfinished = None
