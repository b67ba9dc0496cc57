"""What the stream sends, written by hand, and a stream that tests feed."""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.sdk.errors import ServerUnreachableError
from qmtl_worlds.sdk.permission import ActivationReading
from qmtl_worlds.sdk.session import JsonObject
from tests.sdk.activations import STRATEGY, WORLD, wire_activation

At = tuple[int, int, int]
SHUT: dict[str, Any] = {"active": False, "weight": 0.0, "gate": "reduce_only", "reason": "freeze"}


def frame(
    kind: str,
    *entries: dict[str, object],
    at: At = (1, 7, 0),
    server_ms: object = 50_000.0,
    lease_ms: object = 5_000,
    **changes: object,
) -> bytes:
    """Return an event as the server writes it; a state frame without ``entries`` is of an open long side."""
    head = {"world_id": WORLD, "sequence": at[1], "server_ms": server_ms, "lease_ms": lease_ms, **changes}
    if kind != "heartbeat":
        head = {"entries": list(entries) or [entry(at=at)], **head}
    return f"event: {kind}\nid: {Position(*at).text}\ndata: {json.dumps(head)}\n\n".encode()


def entry(*, at: At = (1, 7, 0), changes_at_ms: float | None = None, **changes: object) -> dict[str, object]:
    """Return one instance of a state."""
    return {"activation": wire_activation(at=at, **changes), "changes_at_ms": changes_at_ms}


def shut_frame(*, at: At = (1, 8, 0), server_ms: float = 51_000.0, **changes: object) -> bytes:
    """Return the state after a freeze."""
    return frame("activation", entry(at=at, **{**SHUT, **changes}), at=at, server_ms=server_ms)


def end_frame(reason: str) -> bytes:
    """Return the last event of a stream."""
    return f'event: end\ndata: {{"reason": "{reason}"}}\n\n'.encode()


@dataclass(slots=True)
class PlayedStream:
    """A stream that says what tests put into it; an empty part ends it, an error breaks it."""

    sent_at: float
    parts: queue.SimpleQueue[bytes | Exception] = field(default_factory=queue.SimpleQueue)
    timeouts: list[float] = field(default_factory=list)

    def read(self, timeout_seconds: float) -> bytes:
        """Return the next part, whenever it comes."""
        self.timeouts.append(timeout_seconds)
        part = self.parts.get(timeout=20)
        if isinstance(part, Exception):
            raise part
        return part

    def abort(self) -> None:
        """End the stream under its reader."""
        self.parts.put(ServerUnreachableError("aborted"))

    def close(self) -> None:
        """Hold nothing."""


@dataclass(slots=True)
class PlayedServer:
    """A source that streams: hands out ``streams`` in turn and answers polls with ``poll``; keeps what it was told."""

    streams: Sequence[PlayedStream]
    poll: Callable[[], ActivationReading] | None = None
    lease: float = 5.0
    opened: list[tuple[str | None, str | None]] = field(default_factory=list)
    asked: list[tuple[str, str, str, str | None]] = field(default_factory=list)
    client_ids: set[str | None] = field(default_factory=set)
    acknowledged: queue.SimpleQueue[tuple[str, str, list[str]]] = field(default_factory=queue.SimpleQueue)

    def open_stream(
        self, world_id: str, strategy_id: str, *, client_id: str | None = None, last_seen: Position | None = None
    ) -> PlayedStream:
        """Return the next stream; there may be no more."""
        assert (world_id, strategy_id) == (WORLD, STRATEGY)
        self.opened.append((client_id, last_seen.text if last_seen else None))
        if len(self.opened) > len(self.streams):
            raise ServerUnreachableError("no more streams")
        return self.streams[len(self.opened) - 1]

    def activation(
        self,
        world_id: str,
        strategy_id: str,
        side: str,
        *,
        known_etag: str | None = None,
        client_id: str | None = None,
    ) -> ActivationReading:
        """Answer a poll."""
        self.asked.append((world_id, strategy_id, side, known_etag))
        self.client_ids.add(client_id)
        if self.poll is None:
            raise ServerUnreachableError("nothing answers")
        return self.poll()

    def acknowledge(
        self, world_id: str, *, client_id: str, heard: Position, flat: Sequence[InstanceKey] = ()
    ) -> JsonObject:
        """Keep what was said."""
        assert world_id == WORLD
        self.acknowledged.put((client_id, heard.text, [key.text for key in flat]))
        return {"released": [key.text for key in flat], "waiting": []}

    def lease_seconds(self, world_id: str) -> float:
        """Return the world's lease."""
        assert world_id == WORLD
        return self.lease

    def close(self) -> None:
        """Hold nothing."""
