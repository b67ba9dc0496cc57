"""A write that is begun in a callback, and finished in a task only where it has to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any


def begin(writing: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None] | None:
    """Run a coroutine until it waits; None where it came to its end, else what is left of it, to be awaited.

    Nearly every write of a stream ends at once: a task that is woken for it costs more than the write.
    """
    try:
        waits = writing.send(None)
    except StopIteration:
        return None
    return _finish(writing, waits)


async def _finish(writing: Coroutine[Any, Any, None], waits: object) -> None:
    await _go_on(writing, waits)


@coroutine
def _go_on(writing: Coroutine[Any, Any, None], waits: object) -> Generator[object, None, None]:
    while True:
        try:
            yield waits
        except asyncio.CancelledError as error:
            waits = writing.throw(error)
            continue
        try:
            waits = writing.send(None)
        except StopIteration:
            return
