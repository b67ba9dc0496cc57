"""The WebSocket that QMTL's clients listen on: one strategy of one world, first everything, then each change.

These clients believe any frame about any strategy, and keep what they heard last. So only their own strategy is told,
closed is told like everything else, and a state that cannot be confirmed any more is told as closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

import msgspec
from django.conf import settings

from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.contracts.ids import InstanceKey, Side
from worlds.live.http import Receive, Scope, Send, parameters
from worlds.live.limits import Places
from worlds.live.lookups import LookUps
from worlds.live.snapshot import WorldSnapshot
from worlds.live.store import LiveWorld
from worlds.live.tokens import BEARER, Caller
from worlds.services.dev_open import DEV_TOKEN_ID, Connection, is_open_to
from worlds.services.subscriptions import STREAM_PATH, Ticket

LONGEST_TOKEN: Final = 2_048
LONGEST_FRAME: Final = 4_096
FRAMES_PER_SECOND: Final = 10
LOOK_SECONDS: Final = 1.0
"""How often a stream looks by itself: data turns stale, and confirmations lapse, without anybody's word."""
SLOW_SECONDS: Final = 1.0
"""A client that takes longer for what is new is told the latest state alone the next time."""
SILENT_SECONDS: Final = 30.0
"""A client that takes nothing for so long is cut off."""
REFUSED: Final = 1008
TOO_BIG: Final = 1009
FULL: Final = 1013
GONE: Final = 1001


@dataclass(frozen=True, slots=True)
class Admission:
    """A ticket that was signed here and is still good, and who holds the token that it stands for."""

    ticket: Ticket
    caller: Caller


class Sockets:
    """Lets clients in, and tells them."""

    def __init__(self, *, admissions: LookUps[Admission], worlds: LookUps[LiveWorld], places: Places) -> None:
        """Prepare; ``admissions`` reads tickets on the keeper's thread."""
        self._admissions = admissions
        self._worlds = worlds
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        await receive()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["path"] != STREAM_PATH or not _is_ours(headers):
            await _close(send, REFUSED)
            return
        await send({"type": "websocket.accept"})
        admission = await self._admit(scope, headers)
        world = await self._worlds.find(admission.ticket.world_id) if admission else None
        if admission is None or world is None:
            await _close(send, REFUSED)
        elif admission.caller.streams >= settings.STREAMS_PER_TOKEN or not self._places.take():
            await _close(send, FULL)
        else:
            await self._serve(receive, send, admission, world)

    async def _serve(self, receive: Receive, send: Send, admission: Admission, world: LiveWorld) -> None:
        admission.caller.streams += 1
        world.streams += 1
        stream = _Stream(send, admission, world)
        hearing = asyncio.ensure_future(self._hear(receive, stream))
        telling = asyncio.ensure_future(stream.tell())
        try:
            done, _ = await asyncio.wait({hearing, telling}, return_when=asyncio.FIRST_COMPLETED)
            code = next(iter(done)).result()
            if code is not None:
                await _close(send, code)
        finally:
            hearing.cancel()
            telling.cancel()
            admission.caller.streams -= 1
            world.streams -= 1
            self._places.give_back()

    async def _admit(self, scope: Scope, headers: dict[str, str]) -> Admission | None:
        query = parameters(scope["query_string"], known=frozenset({"token"})) or {}
        bearer = headers.get("authorization", "")
        is_bearer = bearer[: len(BEARER)].lower().encode() == BEARER
        text = bearer[len(BEARER) :].strip() if is_bearer else query.get("token", "")
        admission = await self._read(text)
        if admission is None or admission.ticket.token_id != DEV_TOKEN_ID:
            return admission
        peer, server = (str((scope.get(end) or ("",))[0]) for end in ("client", "server"))
        return admission if is_open_to(Connection(peer, server, headers)) else None

    async def _read(self, text: str) -> Admission | None:
        """Return what a ticket admits to; None where it admits to nothing."""
        found = await self._admissions.find(text) if 0 < len(text) <= LONGEST_TOKEN else None
        if found is None or not found.caller.rights(found.ticket.world_id)[0]:
            return None
        known = not found.ticket.strategy_id or found.caller.grants.knows_strategy(found.ticket.strategy_id)
        return found if known else None

    async def _hear(self, receive: Receive, stream: _Stream) -> int | None:
        """Answer what the client says, until it leaves (None) or has to."""
        while (message := await receive())["type"] == "websocket.receive":
            text = message.get("text") or (message.get("bytes") or b"").decode("utf-8", "replace")
            if len(text) > LONGEST_FRAME:
                return TOO_BIG
            said = _object(text)
            if said.get("type") == "ack":
                await stream.put(text.encode())
            elif said.get("type") == "refresh":
                token = said.get("token")
                if not isinstance(token, str) or not stream.renew(await self._read(token)):
                    return REFUSED
                await stream.put(b'{"type":"refresh_ack"}')
            await asyncio.sleep(1 / FRAMES_PER_SECOND)
        return None


class _Stream:
    """One client: what it is told of, and what it has heard."""

    def __init__(self, send: Send, admission: Admission, world: LiveWorld) -> None:
        self._send = send
        self._admission = admission
        self._world = world
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._seen: WorldSnapshot | None = None
        self._told: dict[str, bytes] = {}
        self._is_slow = False
        self._turn = asyncio.Lock()

    async def tell(self) -> int | None:
        """Tell the client everything, until it has to leave."""
        self._world.wakes.add(self._wake)
        try:
            while self._admission.caller.is_live(boot_time()):
                if self._world.gone:
                    return GONE
                self._news.clear()
                started = self._loop.time()
                for state in self._unseen():
                    await self._tell_state(state)
                self._is_slow = self._loop.time() - started > SLOW_SECONDS
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), LOOK_SECONDS)
        except TimeoutError:
            return None
        finally:
            self._world.wakes.discard(self._wake)
        return REFUSED

    def renew(self, admission: Admission | None) -> bool:
        """Take a new ticket for the same stream; tell whether it is one."""
        if admission is None or replace(admission.ticket, token_id="") != replace(self._admission.ticket, token_id=""):
            return False
        self._admission = admission
        return True

    async def put(self, frame: bytes) -> None:
        """Send one frame.

        Raises:
            TimeoutError: it takes nothing.
        """
        async with self._turn, asyncio.timeout(SILENT_SECONDS):
            await self._send({"type": "websocket.send", "text": frame.decode()})

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop has ended, and this stream with it
            self._loop.call_soon_threadsafe(self._news.set)

    def _unseen(self) -> list[WorldSnapshot]:
        """Return the states to tell, the present one last; a slow client, and one to whom a kill is news, gets that."""
        latest, states = self._world.confirmed.snapshot, list(self._world.recent)
        place = next((n for n, one in enumerate(states) if self._seen is not None and one.is_same_as(self._seen)), None)
        if place is None or self._is_slow or latest.position.hold_sequence > states[place].position.hold_sequence:
            return [latest]
        return [*states[place + 1 : -1], latest]

    async def _tell_state(self, state: WorldSnapshot) -> None:
        held, now = self._world.confirmed, boot_time()
        is_latest = state is held.snapshot
        confirmed = state.is_confirmed(now=now, confirmed_at=held.at) if is_latest else state.facts.confirmed
        for name, frame in self._frames(state, now=now, confirmed=confirmed):
            if self._told.get(name) != frame:
                await self.put(frame)
                self._told[name] = frame
        self._seen = state

    def _frames(self, state: WorldSnapshot, *, now: float, confirmed: bool) -> Iterator[tuple[str, bytes]]:
        ticket, grants = self._admission.ticket, self._admission.caller.grants
        if "activation" in ticket.topics and ticket.strategy_id:
            visible = grants.knows_strategy(ticket.strategy_id)
            for side in Side:
                key = InstanceKey(ticket.strategy_id, side)
                told = state.prepared(key, now=now, confirmed=confirmed, visible=visible)
                yield side.value, b'{"type":"activation_updated","data":%s,"version":1}}' % told.body[:-1]
        if "policy" in ticket.topics:
            data = {"world_id": ticket.world_id, "state_hash": state.policy_hash, "version": 1}
            yield "policy", msgspec.json.encode({"type": "policy_state_hash", "data": data})


def _is_ours(headers: dict[str, str]) -> bool:
    """Tell whether a web page of this server, or no page at all, connects."""
    origin = headers.get("origin")
    trusted = (*settings.STREAM_ORIGINS, *settings.CSRF_TRUSTED_ORIGINS)
    return origin is None or origin in trusted or urlsplit(origin).netloc == headers.get("host")


def _object(text: str) -> dict[str, object]:
    try:
        said = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


async def _close(send: Send, code: int) -> None:
    await send({"type": "websocket.close", "code": code})
