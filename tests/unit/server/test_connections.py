"""Connections that hold on to a place without asking for anything, or take nothing of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from django.test import override_settings
from uvicorn.config import Config
from uvicorn.server import ServerState

from qmtl_worlds.connections import LONGEST_HEAD, LONGEST_JOINED, GuardedProtocol, Joining


class Transport(asyncio.Transport):
    """Notes what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.ended = ""
        self.is_broken = False
        self.protocol: asyncio.BaseProtocol | None = None

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)

    def write(self, data: Any) -> None:
        if self.is_broken:
            raise RuntimeError("the handler is closed")
        self.writes.append(bytes(data))

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def is_closing(self) -> bool:
        return bool(self.ended)


class Upgraded(asyncio.Protocol):
    """Stands in for the protocol of WebSockets."""

    def __init__(self, **_given: object) -> None:
        self.transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport


async def app(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    await receive()
    is_stream = scope["path"].endswith("/events")
    await send({"type": "http.response.start", "status": 200 if is_stream else 204, "headers": []})
    await send({"type": "http.response.body", "body": b"one" if is_stream else b"", "more_body": is_stream})
    if is_stream:
        await receive()


def connect(state: ServerState) -> tuple[GuardedProtocol, Transport]:
    config = Config(app, http=GuardedProtocol, log_config=None)
    protocol, transport = GuardedProtocol(config=config, server_state=state, app_state={}), Transport()
    protocol.connection_made(transport)
    return protocol, transport


async def wait_for(ended: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not ended():  # noqa: ASYNC110 - the protocol tells nobody
            await asyncio.sleep(0)


@override_settings(HEADER_SECONDS=0.01)
@pytest.mark.parametrize("head", [b"", b"\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_head_that_does_not_come_in_time_ends_the_connection(head: bytes) -> None:
    async def story() -> Transport:
        protocol, transport = connect(ServerState())
        if head:
            protocol.data_received(head)
        await wait_for(transport.is_closing)
        return transport

    transport = asyncio.run(story())

    assert transport.written.startswith(b"HTTP/1.1 408 ")
    assert b"urn:qmtl-worlds:request-too-slow" in transport.written


@override_settings(HEADER_SECONDS=0.01)
def test_second_head_on_a_kept_connection_has_its_time_as_well() -> None:
    async def story() -> Transport:
        protocol, transport = connect(ServerState())
        protocol.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await wait_for(lambda: b"204" in transport.written)
        protocol.data_received(b"GET / HTTP/1.1\r\nHo")
        await wait_for(transport.is_closing)
        return transport

    assert b"HTTP/1.1 408 " in asyncio.run(story()).written


def test_head_without_end_is_refused() -> None:
    async def story() -> Transport:
        protocol, transport = connect(ServerState())
        protocol.data_received(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(LONGEST_HEAD // 16_384 + 1):
            protocol.data_received(b"x" * 16_384)
        return transport

    assert asyncio.run(story()).written.startswith(b"HTTP/1.1 431 ")


@override_settings(CONNECTIONS=1)
def test_connection_too_many_is_told_to_come_back() -> None:
    async def story() -> tuple[Transport, Transport]:
        state = ServerState()
        return connect(state)[1], connect(state)[1]

    first, second = asyncio.run(story())

    assert (first.written, second.ended) == (b"", "closed")
    assert second.written.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in second.written


def test_reader_that_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qmtl_worlds.connections.TAKING_SECONDS", 0.01)

    async def story() -> list[str]:
        stuck, slow = connect(ServerState()), connect(ServerState())
        for protocol, _ in (stuck, slow):
            protocol.pause_writing()
        slow[0].resume_writing()
        await wait_for(stuck[1].is_closing)
        return [transport.ended for _, transport in (stuck, slow)]

    assert asyncio.run(story()) == ["aborted", ""]


def joined(*parts: bytes) -> tuple[Joining, Transport]:
    """Write parts of an answer, its head first."""
    transport = Transport()
    joining = Joining(transport, asyncio.get_running_loop())
    joining.expects_head = True
    for part in parts:
        joining.write(part)
    return joining, transport


def test_head_goes_out_together_with_what_follows_it() -> None:
    async def story() -> list[bytes]:
        return joined(b"head", b"body", b"more")[1].writes

    assert asyncio.run(story()) == [b"headbody", b"more"]


def test_head_that_nothing_follows_goes_out_in_the_next_turn() -> None:
    async def story() -> tuple[list[bytes], list[bytes]]:
        _, transport = joined(b"head")
        before = list(transport.writes)
        await asyncio.sleep(0)
        return before, transport.writes

    assert asyncio.run(story()) == ([], [b"head"])


def test_long_body_is_not_copied_for_its_head() -> None:
    async def story() -> list[int]:
        return [len(part) for part in joined(b"head", b"x" * (LONGEST_JOINED + 1))[1].writes]

    assert asyncio.run(story()) == [4, LONGEST_JOINED + 1]


def test_closing_writes_the_head_first_and_cutting_off_does_not() -> None:
    async def story() -> list[list[bytes]]:
        (closed, told), (cut, untold) = joined(b"head"), joined(b"head")
        closed.close()
        cut.abort()
        await asyncio.sleep(0)
        return [told.writes, untold.writes]

    assert asyncio.run(story()) == [[b"head"], []]


def test_head_for_a_peer_that_has_gone_meanwhile_is_dropped() -> None:
    async def story() -> tuple[list[bytes], list[object]]:
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, what: told.append(what))
        (_, gone), (_, breaks) = joined(b"head"), joined(b"head")
        gone.close()
        breaks.is_broken = True
        await asyncio.sleep(0)
        return gone.writes + breaks.writes, told

    assert asyncio.run(story()) == ([], [])


def test_stream_begins_with_one_write() -> None:
    async def story() -> list[bytes]:
        protocol, transport = connect(ServerState())
        protocol.data_received(b"GET /worlds/w1/events?client_id=c1 HTTP/1.1\r\nHost: x\r\n\r\n")
        await wait_for(lambda: transport.writes)
        return transport.writes

    [answer] = asyncio.run(story())

    assert answer.endswith(b"\r\n\r\n3\r\none\r\n")


def test_socket_that_is_upgraded_gets_the_wire_itself() -> None:
    async def story() -> tuple[GuardedProtocol, Transport]:
        protocol, transport = connect(ServerState())
        protocol.ws_protocol_class = cast("Any", Upgraded)
        protocol.data_received(b"GET /events HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        return protocol, transport

    protocol, transport = asyncio.run(story())

    assert protocol.transport is transport
    assert isinstance(transport.protocol, Upgraded)
    assert transport.protocol.transport is transport
