"""How far a strategy's data reaches, asked of the provider that feeds it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

Ranges = Iterable[tuple[int, int]]
"""Covered stretches as (first, last) epoch seconds of bar closes, in any order."""


class DataProvider(Protocol):
    """Anything that can say what it covers."""

    def coverage(self) -> Ranges:
        """Return the covered stretches."""
        ...


class SeamlessSource(Protocol):
    """The part of QMTL's ``SeamlessDataProvider`` that is used here."""

    async def coverage(self, *, node_id: str, interval: int) -> Ranges:
        """Return the covered stretches of one node; ``interval`` is the length of its bars in seconds."""
        ...


class SeamlessCoverage:
    """Wraps a ``SeamlessDataProvider``, which keeps doing its own work, as a ``DataProvider`` for one node.

    Not for use inside a running event loop.
    """

    def __init__(self, provider: SeamlessSource, *, node_id: str, interval: int) -> None:
        """Ask ``provider`` about ``node_id`` with bars of ``interval`` seconds."""
        self._provider = provider
        self._node_id = node_id
        self._interval = interval

    def coverage(self) -> Ranges:
        """Return the covered stretches, now."""
        return asyncio.run(self._ask())

    async def _ask(self) -> Ranges:
        return await self._provider.coverage(node_id=self._node_id, interval=self._interval)


def data_end(provider: DataProvider) -> int | None:
    """Return the last close that ``provider`` covers, None where it covers nothing."""
    return max((last for _, last in provider.coverage()), default=None)
