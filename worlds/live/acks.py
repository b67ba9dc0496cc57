"""``POST /worlds/{id}/acks`` of a Runner that says no more than how far it has heard: noted in memory."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import msgspec

from qmtl_worlds.contracts.ids import OBJECT_ID_PATTERN
from qmtl_worlds.contracts.lease import Position
from worlds.live.http import REQUEST_ID, Asked, Message, Receive, Send, respond
from worlds.live.sessions import Sessions
from worlds.live.store import LiveWorld
from worlds.live.tokens import Caller

REPORT: Final = "runner.report"
LONGEST: Final = 4_096
PATIENCE_SECONDS: Final = 2.0

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Ack(msgspec.Struct, forbid_unknown_fields=True):
    """How far a Runner has heard; with anything more the rows are asked."""

    client_id: Annotated[str, msgspec.Meta(pattern=rf"^{OBJECT_ID_PATTERN}\Z")]
    sequence: Count
    incarnation: Count | None = None
    hold_sequence: Count | None = None
    connection: Annotated[str, msgspec.Meta(pattern="^(poll|stream|websocket)$")] = "stream"

    def position(self, present: Position) -> Position:
        """Return the position that is meant."""
        return Position(
            present.incarnation if self.incarnation is None else self.incarnation,
            self.sequence,
            present.hold_sequence if self.hold_sequence is None else self.hold_sequence,
        )


async def read_start(receive: Receive) -> list[Message]:
    """Read a body as far as an acknowledgement may go; what is longer or slower is left to Django."""
    received: list[Message] = []
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while sum(len(message.get("body", b"")) for message in received) <= LONGEST:
                received.append(await receive())
                if not received[-1].get("more_body", False):
                    break
    except TimeoutError:
        return received
    return received


def find_ack(received: list[Message]) -> Ack | None:
    """Return what a whole body says, None where it says something else."""
    if not received or received[-1]["type"] != "http.request" or received[-1].get("more_body", False):
        return None
    try:
        return msgspec.json.decode(b"".join(message.get("body", b"") for message in received), type=Ack)
    except (msgspec.DecodeError, UnicodeError):
        return None


async def answer_ack(
    send: Send, asked: Asked, ack: Ack, *, world: LiveWorld, caller: Caller, sessions: Sessions
) -> bool:
    """Note it, and tell where the world is; False where the rows must be asked."""
    present = world.confirmed.snapshot.position
    heard = ack.position(present)
    if not caller.grants.allows(REPORT, world.world_id) or heard.incarnation != present.incarnation or heard > present:
        return False
    token = caller.token.id
    sessions.hear(world, client_id=ack.client_id, token=token, connection=ack.connection, holds=heard)
    told = {"world_id": world.world_id, "position": present.text, "released": [], "waiting": []}
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store"), (REQUEST_ID, asked.answer_id())]
    await respond(send, 200, headers, msgspec.json.encode(told))
    return True


def replay(received: list[Message], receive: Receive) -> Receive:
    """Return a ``receive`` that gives what was read, then what follows."""
    left = iter(received)

    async def replayed() -> Message:
        for message in left:
            return message
        return await receive()

    return replayed
