"""Connections that hold on to a place without asking for anything, or take nothing of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.test import override_settings
from uvicorn.config import Config
from uvicorn.server import ServerState

from qmtl_worlds.connections import LONGEST_HEAD, GuardedProtocol


class Transport(asyncio.Transport):
    """Notes what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = ""

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def is_closing(self) -> bool:
        return bool(self.ended)


async def app(_scope: object, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


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
