"""Waiting, on the event loop, for what only the keeper's thread can find out: once for all who ask the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Final, Generic, TypeVar

from worlds.live.keeper import Keeper

PATIENCE_SECONDS: Final = 1.0
"""How long a question waits for the rows; then Django asks them itself."""
MOST_WAITING: Final = 256
"""More different questions than this at a time are Django's as well: they must not hold up confirmations."""

T = TypeVar("T")


class LookUps(Generic[T]):
    """Questions of one kind that are on their way to the keeper."""

    def __init__(self, keeper: Keeper, look: Callable[[str], T | None]) -> None:
        """Prepare; ``look`` runs on the keeper's thread."""
        self._keeper = keeper
        self._look = look
        self._waiting: dict[Hashable, asyncio.Future[T | None]] = {}

    async def find(self, name: str) -> T | None:
        """Return what the rows say; None where they know nothing, or do not say so in time."""
        loop = asyncio.get_running_loop()
        answer = self._waiting.get(name)
        if answer is None or answer.get_loop() is not loop:
            if len(self._waiting) >= MOST_WAITING:
                return None
            answer = self._waiting[name] = loop.create_future()
            self._ask(name, answer)
        with suppress(TimeoutError):
            return await asyncio.wait_for(asyncio.shield(answer), PATIENCE_SECONDS)
        return None

    def _ask(self, name: str, answer: asyncio.Future[T | None]) -> None:
        def run() -> None:
            found: T | None = None
            try:
                found = self._look(name)
            finally:  # a defect keeps nobody waiting either
                self._tell(name, answer, found)

        self._keeper.submit(run)

    def _tell(self, name: str, answer: asyncio.Future[T | None], found: T | None) -> None:
        with suppress(RuntimeError):  # the loop has ended, and whoever asked with it
            answer.get_loop().call_soon_threadsafe(self._settle, name, answer, found)

    def _settle(self, name: str, answer: asyncio.Future[T | None], found: T | None) -> None:
        if self._waiting.get(name) is answer:
            del self._waiting[name]
        if not answer.done():
            answer.set_result(found)
