"""A wire that fails: between Runners and the web process it delays, drips, swallows and cuts what goes through it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

CHUNK: Final = 65536
MOODS: Final = ("pass",) * 12 + ("delay", "trickle", "swallow", "reset", "half")
"""What befalls a piece; ``swallow`` loses it and all that follows, ``half`` closes one direction only."""
LONGEST_SECONDS: Final = 1.5


class Wire:
    """Carries connections from one port of the loopback to another."""

    def __init__(self, port: int, target: int, dice: random.Random) -> None:
        """Listen on ``port`` once it runs, and connect each caller with ``target``."""
        self._port, self._target, self._dice = port, target, dice

    async def run(self) -> None:
        """Carry until the process ends."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", self._port)
        async with server:
            await server.serve_forever()

    async def _connect(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            far, forth = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.gather(self._carry(near, forth), self._carry(far, back))
            forth.close()
        back.close()

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Carry one direction, each piece in a mood of its own."""
        with suppress(OSError):
            while data := await source.read(CHUNK):
                if not await self._pass_on(data, target):
                    break
            if target.can_write_eof():
                target.write_eof()

    async def _pass_on(self, data: bytes, target: asyncio.StreamWriter) -> bool:
        """Pass a piece on, or not; tell whether the wire still holds."""
        mood = self._dice.choice(MOODS)
        if mood == "reset":
            target.transport.abort()
        if mood == "swallow":
            await asyncio.sleep(LONGEST_SECONDS * 2)
        if mood in {"reset", "swallow", "half"}:
            return False
        if mood == "delay":
            await asyncio.sleep(self._dice.uniform(0, LONGEST_SECONDS))
        pieces = [data[place : place + 64] for place in range(0, len(data), 64)] if mood == "trickle" else [data]
        for piece in pieces:
            target.write(piece)
            await target.drain()
            if mood == "trickle":
                await asyncio.sleep(0.01)
        return True


def carry(_tell: Callable[[dict[str, Any]], None], words: Mapping[str, Any]) -> None:
    """Be a wire from ``port`` to ``target``."""
    dice = random.Random(words["seed"])  # noqa: S311 - no secret
    asyncio.run(Wire(words["port"], words["target"], dice).run())
