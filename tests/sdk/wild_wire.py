"""A wire that also repeats pieces, swaps their order and dies behind a late one, until it is told to behave."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress

from torture.proxy import Wire

REPEAT = "repeat"
SWAP = "swap"
LATE = "late"
MOODS = ("pass",) * 6 + (REPEAT, SWAP, LATE, "fail")
LATEST_SECONDS = 1.0
DEAD_SECONDS = 1.5


class WildWire(Wire):
    """``moods`` counts what befell pieces; a ``calm`` wire passes everything on."""

    def __init__(self, port: int, target: int, dice: random.Random) -> None:
        super().__init__(port, target, dice)
        self.calm = False
        self.moods: Counter[str] = Counter()
        self._kept: dict[asyncio.StreamWriter, bytes] = {}
        self._carrying: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Cut what is still connected."""
        for task in self._carrying:
            task.cancel()
        if self._carrying:
            await asyncio.wait(self._carrying)
        await asyncio.sleep(0)  # a cut takes a turn of the loop

    async def _connect(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._both_ways(near, back))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        await asyncio.wait([task])

    async def _both_ways(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        forth: asyncio.StreamWriter | None = None
        try:
            far, forth = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.gather(self._carry(near, forth), self._carry(far, back))
        except OSError:
            self.moods["refused"] += 1
        finally:
            for writer in (back, forth):
                if writer is not None:
                    writer.transport.abort()

    async def _pass_on(self, data: bytes, target: asyncio.StreamWriter) -> bool:
        mood = "pass" if self.calm else self._dice.choice(MOODS)
        self.moods[mood] += 1
        kept = self._kept.pop(target, b"")
        if mood == LATE:  # the last that is heard on this connection is old when it comes
            await asyncio.sleep(self._dice.uniform(0, LATEST_SECONDS))
            target.write(kept + data)
            await asyncio.sleep(DEAD_SECONDS)
            return False
        if mood == "fail":
            return await super()._pass_on(kept + data, target)
        if mood == SWAP and not kept:
            self._kept[target] = data  # goes after the next piece
            return True
        target.write(data * 2 + kept if mood == REPEAT else data + kept)
        with suppress(ConnectionError):
            await target.drain()
        return True
