"""The one task of a stream: woken where it waits for its client to go, and told from a stream that is cut."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from worlds.live.frames import Wanted
from worlds.live.reader import Reader


def wake(reader: Reader) -> None:
    reader.wake()


def cut(reader: Reader) -> None:
    reader.cut()


def shut_down(reader: Reader) -> None:
    assert reader.task is not None
    reader.task.cancel("the server stops")


async def parked(readers: list[Reader]) -> str:
    """Be parked as a stream is, and tell what became of it."""
    reader = Reader(cast("Any", None), Wanted(), leased=True)
    readers.append(reader)
    reader.parked = True
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if not reader.was_woken():
            return "ended"
    await asyncio.sleep(0)  # a cancellation that is still open ends it here
    return "woken"


@pytest.mark.parametrize(
    ("acts", "became"),
    [
        ((wake,), "woken"),
        ((cut,), "ended"),
        ((shut_down,), "ended"),
        ((wake, cut), "ended"),
        ((cut, wake), "ended"),
        ((wake, shut_down), "ended"),
    ],
)
def test_only_a_waking_by_itself_lets_a_stream_go_on(acts: tuple[Callable[[Reader], None], ...], became: str) -> None:
    async def story() -> str:
        readers: list[Reader] = []
        task = asyncio.ensure_future(parked(readers))
        await asyncio.sleep(0)
        for act in acts:
            act(readers[0])
        return await task

    assert asyncio.run(story()) == became
