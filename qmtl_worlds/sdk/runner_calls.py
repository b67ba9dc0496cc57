"""The calls that gates make, as data: the same whether a thread or an event loop sends them."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Final

from qmtl_worlds.contracts.ids import InstanceKey, check_object_id, check_world_id
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.sdk.errors import ReplyInvalidError
from qmtl_worlds.sdk.line import FIRST_FRAME_SECONDS
from qmtl_worlds.sdk.session import Call, JsonObject, json_content, path_of

ACTIVATION_TIMEOUT_SECONDS: Final = 2.0
"""A gate had better ask again than wait longer for an answer whose lease is running out."""


def activation_call(
    world_id: str,
    key: InstanceKey,
    *,
    client_id: str | None,
    known_etag: str | None,
    consistent: bool,
    timeout_seconds: float,
) -> Call:
    """Ask for one activation, once; with ``client_id`` the server notes who holds what."""
    return Call(
        "GET",
        path_of("worlds", check_world_id(world_id), "activation"),
        {
            "strategy_id": key.strategy_id,
            "side": key.side.value,
            "client_id": check_object_id(client_id, field="client_id") if client_id else None,
            "consistent": True if consistent else None,
        },
        headers={"If-None-Match": f'"{known_etag}"'} if known_etag else {},
        timeout_seconds=min(timeout_seconds, ACTIVATION_TIMEOUT_SECONDS),
        attempts=1,
    )


def stream_call(world_id: str, strategy_id: str, *, client_id: str | None, last_seen: Position | None) -> Call:
    """Ask for the stream of one strategy, behind ``last_seen`` where that is known."""
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    return Call(
        "GET",
        path_of("worlds", check_world_id(world_id), "events"),
        {"strategy_id": check_object_id(strategy_id, field="strategy_id"), "client_id": client_id},
        headers=headers | ({"Last-Event-ID": last_seen.text} if last_seen else {}),
        timeout_seconds=FIRST_FRAME_SECONDS,
        attempts=1,
    )


def acknowledge_call(world_id: str, *, client_id: str, heard: Position, flat: Sequence[InstanceKey] = ()) -> Call:
    """Say how far was heard, and which instances hold nothing; saying it twice is saying it once."""
    body: JsonObject = {
        "client_id": check_object_id(client_id, field="client_id"),
        "incarnation": heard.incarnation,
        "sequence": heard.sequence,
        "hold_sequence": heard.hold_sequence,
    }
    path = path_of("worlds", check_world_id(world_id), "acks")
    content = json_content(body | ({"flat": [key.text for key in flat]} if flat else {}))
    return Call("POST", path, content=content, repeatable=True, attempts=3 if flat else 1)


def read_lease_seconds(world: JsonObject) -> float:
    """Return the lease that a world was given.

    Raises:
        ReplyInvalidError: it does not say.
    """
    lease_ms = world.get("lease_ms")
    if not isinstance(lease_ms, int | float) or isinstance(lease_ms, bool) or not isfinite(lease_ms):
        raise ReplyInvalidError("the world has no lease_ms")
    return lease_ms / 1000
