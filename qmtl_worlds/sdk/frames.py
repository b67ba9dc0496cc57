"""From an event of the stream to a frame that a gate may rely on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

from qmtl_worlds.contracts.activation import ActivationEnvelope, envelope_etag, parse_envelope
from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.lease import Position, find_position
from qmtl_worlds.sdk.errors import ReplyInvalidError
from qmtl_worlds.sdk.session import JsonObject, read_object
from qmtl_worlds.sdk.sse import ServerEvent


class FrameKind(StrEnum):
    """What a frame is for: a state (first or changed), the renewal of one, the end."""

    SNAPSHOT = "snapshot"
    ACTIVATION = "activation"
    HEARTBEAT = "heartbeat"
    END = "end"


_KINDS = frozenset(FrameKind)


@dataclass(frozen=True, slots=True)
class Entry:
    """One instance in a state; ``changes_at_ms``, on the server's clock, is when that changes by itself, or None."""

    activation: ActivationEnvelope
    changes_at_ms: float | None


@dataclass(frozen=True, slots=True)
class Frame:
    """A state of a world at ``position``, or the renewal of it; times are of the server's monotonic clock."""

    kind: FrameKind
    position: Position
    server_ms: float
    lease_ms: float
    entries: Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class End:
    """The server's last word on a stream: ``revoked``, ``gone`` or another reason."""

    reason: str


def read_frame(event: ServerEvent, *, world_id: str, strategy_id: str) -> Frame | End | None:
    """Read an event of the stream of one strategy; None for a kind that this client does not know.

    Raises:
        ReplyInvalidError: it is malformed, contradicts itself, or is about something else. It proves nothing.
    """
    if event.kind not in _KINDS:
        return None
    data = read_object(event.data.encode())
    kind = FrameKind(event.kind)
    if kind is FrameKind.END:
        return End(str(data.get("reason", "")))
    position = find_position(event.id)
    if position is None or position.text != event.id or data.get("sequence") != position.sequence:
        raise ReplyInvalidError(f"the frame's id {event.id!r} and its sequence disagree")
    if data.get("world_id") != world_id:
        raise ReplyInvalidError(f"asked about {world_id}, told about {data.get('world_id')!r}")
    entries = {} if kind is FrameKind.HEARTBEAT else _entries(data, position)
    told = {(entry.activation.world_id, entry.activation.strategy_id) for entry in entries.values()}
    if not told <= {(world_id, strategy_id)}:
        raise ReplyInvalidError(f"asked about {strategy_id}, told about another strategy")
    return Frame(kind, position, _number(data, "server_ms"), _number(data, "lease_ms"), entries)


def _entries(data: JsonObject, position: Position) -> dict[str, Entry]:
    told = data.get("entries")
    if not isinstance(told, list):
        raise ReplyInvalidError("a state without its entries")
    entries = [_entry(one, position) for one in told]
    found = {entry.activation.side.value: entry for entry in entries}
    if len(found) != len(entries):
        raise ReplyInvalidError("a state names a side twice")
    return found


def _entry(told: object, position: Position) -> Entry:
    if not isinstance(told, dict) or not isinstance(body := told.get("activation"), dict):
        raise ReplyInvalidError("an entry without its activation")
    try:
        activation = parse_envelope(body)
    except InputInvalidError as error:
        raise ReplyInvalidError(f"the activation is malformed: {error}") from error
    if activation.position != position or activation.etag != envelope_etag(position, body):
        raise ReplyInvalidError("an activation and the position or digest in its etag disagree")
    at = None if told.get("changes_at_ms") is None else _number(told, "changes_at_ms")
    return Entry(activation, at)


def _number(data: Mapping[str, object], name: str) -> float:
    value = data.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        raise ReplyInvalidError(f"{name} is no number")
    return float(value)
