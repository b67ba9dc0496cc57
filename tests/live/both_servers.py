"""Clients that know two servers: whoever does not answer is left for the other one, and what was seen is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

from qmtl_worlds.contracts.errors import WorldsError
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.lease import Position, find_position
from qmtl_worlds.sdk.client import WorldsClient
from qmtl_worlds.sdk.errors import SdkError
from qmtl_worlds.sdk.permission import ActivationReading
from qmtl_worlds.sdk.session import JsonObject
from qmtl_worlds.sdk.sse import EventParser
from qmtl_worlds.sdk.stream import EventStream

WORLD, STRATEGY = "w1", "good"
PAUSE_SECONDS = 0.005
T = TypeVar("T")


@dataclass(slots=True)
class Seen:
    """What one client was told, by the address of who told it; ``moved`` counts how often it went to the other one."""

    told: list[tuple[str, str, Position]] = field(default_factory=list)
    resumed: list[tuple[Position, str, Position]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    moved: int = 0

    @property
    def falls(self) -> int:
        """Count the positions that one server told behind a higher one of its own."""
        return sum(before[0] == after[0] and after[2] < before[2] for before, after in pairwise(self.told))

    @property
    def older_elsewhere(self) -> int:
        """Count the positions that the other server told behind a higher one; clients refuse these (R6)."""
        return sum(before[0] != after[0] and after[2] < before[2] for before, after in pairwise(self.told))


class Both:
    """A source for gates, and for whoever asks by hand, over two servers."""

    def __init__(self, addresses: Sequence[str], token: str, *, first: int = 0) -> None:
        self._clients = {address: WorldsClient(address, token, timeout_seconds=2.0) for address in addresses}
        self._order = [*addresses[first:], *addresses[:first]]
        self.seen = Seen()

    @property
    def address(self) -> str:
        """Return who is asked first."""
        return self._order[0]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def activation(
        self,
        world_id: str,
        strategy_id: str,
        side: str,
        *,
        known_etag: str | None = None,
        client_id: str | None = None,
    ) -> ActivationReading:
        """Ask one, and where it fails the other."""
        return self._first_that_works(
            lambda client: client.activation(world_id, strategy_id, side, known_etag=known_etag, client_id=client_id)
        )

    def open_stream(
        self, world_id: str, strategy_id: str, *, client_id: str | None = None, last_seen: Position | None = None
    ) -> EventStream:
        return self._first_that_works(
            lambda client: client.open_stream(world_id, strategy_id, client_id=client_id, last_seen=last_seen)
        )

    def acknowledge(
        self, world_id: str, *, client_id: str, heard: Position, flat: Sequence[InstanceKey] = ()
    ) -> JsonObject:
        client = self._clients[self.address]
        return client.acknowledge(world_id, client_id=client_id, heard=heard, flat=flat)

    def lease_seconds(self, world_id: str) -> float:
        return self._first_that_works(lambda client: client.lease_seconds(world_id))

    def turn_away(self) -> None:
        """Ask the other one first from now on."""
        self._order.reverse()
        self.seen.moved += 1

    def _first_that_works(self, call: Callable[[WorldsClient], T]) -> T:
        try:
            return call(self._clients[self.address])
        except (SdkError, WorldsError):
            self.turn_away()
        try:
            return call(self._clients[self.address])
        except (SdkError, WorldsError) as error:
            self.seen.failed.append(f"{self.address}: {type(error).__name__}: {error}")
            raise


def poll_until(over: threading.Event, source: Both) -> None:
    """Ask without rest, in full each time."""
    with closing(source):
        while not over.wait(PAUSE_SECONDS):
            try:
                reading = source.activation(WORLD, STRATEGY, "long")
            except (SdkError, WorldsError):
                continue  # it is among the failed ones
            position = reading.envelope.position if reading.envelope else None
            if position is not None:
                source.seen.told.append((source.address, "poll", position))


def stream_until(over: threading.Event, source: Both) -> None:
    """Listen, and go on at the other one behind what was heard last."""
    with closing(source):
        while not over.is_set():
            try:
                _listen(over, source)
            except (SdkError, WorldsError):
                source.turn_away()


def _listen(over: threading.Event, source: Both) -> None:
    last_seen = source.seen.told[-1][2] if source.seen.told else None
    with closing(source.open_stream(WORLD, STRATEGY, last_seen=last_seen)) as stream:
        parser, is_first = EventParser(), last_seen is not None
        while not over.is_set():
            for event in parser.feed(stream.read(1.0)):
                position = find_position(event.id)
                if position is None:
                    continue
                source.seen.told.append((source.address, event.kind, position))
                if is_first and last_seen is not None:
                    source.seen.resumed.append((last_seen, event.kind, position))
                    is_first = False
