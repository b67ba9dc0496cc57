"""A write that is begun in a callback comes to its end, waits in a task, or ends with it."""

from __future__ import annotations

import asyncio

import pytest

from worlds.live.handover import begin


def test_write_that_need_not_wait_is_over_at_once() -> None:
    written: list[str] = []

    async def write() -> None:
        written.append("all")

    left = begin(write())

    assert (left, written) == (None, ["all"])


def test_write_that_waits_is_finished_by_whoever_awaits_the_rest() -> None:
    written: list[str] = []

    async def story() -> None:
        taken = asyncio.Event()

        async def write() -> None:
            written.append("begun")
            await taken.wait()
            await asyncio.sleep(0)
            written.append("done")

        left = begin(write())
        assert left is not None
        asyncio.get_running_loop().call_soon(taken.set)
        await left

    asyncio.run(story())

    assert written == ["begun", "done"]


def test_reader_that_is_cut_ends_the_write_that_waited() -> None:
    ended: list[str] = []

    async def story() -> None:
        async def write() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("let go")

        left = begin(write())
        assert left is not None
        task = asyncio.create_task(left)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())

    assert ended == ["let go"]
