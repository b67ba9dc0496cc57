"""The gate on asyncio keeps the rules of the other one."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import pytest

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.sdk.async_client import AsyncWorldsClient
from qmtl_worlds.sdk.async_gate import AsyncOrderGate
from qmtl_worlds.sdk.errors import ReplyInvalidError, SdkError, ServerUnreachableError
from qmtl_worlds.sdk.line import LineSettings
from qmtl_worlds.sdk.permission import ActivationReading
from qmtl_worlds.sdk.session import JsonObject
from qmtl_worlds.sdk.verdict import GateRules, GateStatus
from tests.sdk.activations import STRATEGY, WORLD, Clock, activation, wire_activation
from tests.sdk.wire import SHUT, PlayedServer, PlayedStream, end_frame, entry, frame, shut_frame


async def until(is_so: Callable[[], bool]) -> None:
    for _ in range(20_000):
        if is_so():
            return
        await asyncio.sleep(0.001)
    raise TimeoutError


@dataclass(slots=True)
class AsyncStreamOf:
    """A played stream, awaited."""

    stream: PlayedStream

    @property
    def sent_at(self) -> float:
        return self.stream.sent_at

    async def read(self, timeout_seconds: float) -> bytes:
        self.stream.timeouts.append(timeout_seconds)
        await until(lambda: not self.stream.parts.empty())
        return self.stream.read(timeout_seconds)

    def close(self) -> None:
        self.stream.close()


@dataclass(slots=True)
class AsyncServerOf:
    """A played server, awaited."""

    server: PlayedServer

    async def open_stream(
        self, world_id: str, strategy_id: str, *, client_id: str | None = None, last_seen: Position | None = None
    ) -> AsyncStreamOf:
        return AsyncStreamOf(self.server.open_stream(world_id, strategy_id, client_id=client_id, last_seen=last_seen))

    async def activation(
        self,
        world_id: str,
        strategy_id: str,
        side: str,
        *,
        known_etag: str | None = None,
        client_id: str | None = None,
    ) -> ActivationReading:
        return self.server.activation(world_id, strategy_id, side, known_etag=known_etag, client_id=client_id)

    async def acknowledge(
        self, world_id: str, *, client_id: str, heard: Position, flat: Sequence[InstanceKey] = ()
    ) -> JsonObject:
        return self.server.acknowledge(world_id, client_id=client_id, heard=heard, flat=flat)

    async def lease_seconds(self, world_id: str) -> float:
        return self.server.lease_seconds(world_id)


def gate_of(server: PlayedServer, *, line: LineSettings | None = None) -> AsyncOrderGate:
    return AsyncOrderGate(
        AsyncServerOf(server),
        world_id=WORLD,
        strategy_id=STRATEGY,
        sides=["long"],
        rules=GateRules(line=line or LineSettings(client_id="me")),
        monotonic=Clock(101.0),
    )


def polled() -> ActivationReading:
    return ActivationReading(activation(at=(1, 9, 0)), lease_ms=5000.0, sent_at=101.0)


def test_gate_opens_by_the_stream_follows_it_and_closes_when_stopped() -> None:
    async def story() -> None:
        stream = PlayedStream(100.0)
        async with gate_of(PlayedServer([stream])) as gate:
            stream.parts.put(frame("snapshot"))
            ready = await gate.wait_until_ready(20)
            opened = gate.check("long").allowed
            stream.parts.put(shut_frame())
            await until(lambda: not gate.check("long").allowed)
            exits = gate.check("long", reduces=True).allowed

        assert (ready, opened, exits) == (True, True, True)
        assert not gate.check("long", reduces=True).allowed

    asyncio.run(story())


def test_gate_asks_while_there_is_no_stream_and_then_listens_again() -> None:
    async def story() -> None:
        streams = [PlayedStream(100.0), PlayedStream(101.0)]
        server = PlayedServer(streams, poll=polled)
        async with gate_of(server) as gate:
            streams[0].parts.put(b"retry: 0\n\n" + frame("snapshot"))
            streams[0].parts.put(ServerUnreachableError("reset"))
            streams[1].parts.put(frame("snapshot", at=(1, 9, 0)))
            await until(lambda: gate.counts.connected == 2 and gate.counts.taken == 2)

            assert gate.status is GateStatus.READY

    asyncio.run(story())


def test_gate_closes_at_once_when_the_server_ends_its_stream() -> None:
    async def story() -> None:
        stream = PlayedStream(100.0)
        async with gate_of(PlayedServer([stream])) as gate:
            stream.parts.put(frame("snapshot"))
            await gate.wait_until_ready(20)
            stream.parts.put(end_frame("gone"))
            await until(lambda: not gate.check("long").allowed)

            assert gate.status is GateStatus.ERROR

    asyncio.run(story())


def test_gate_says_how_far_it_has_heard_and_what_is_flat() -> None:
    async def story() -> None:
        stream, told = PlayedStream(100.0), []
        server = PlayedServer([stream])

        async def close_position(key: InstanceKey) -> None:
            told.append(key.text)

        async with gate_of(server).on_flatten(close_position) as gate:
            stream.parts.put(frame("snapshot", entry(**{**SHUT, "reason": "awaiting_flat"})))
            await until(lambda: not server.acknowledged.empty())
            answer = await gate.acknowledge_flat("long")

        assert told == [f"{STRATEGY}|long"]
        assert answer["released"] == told
        assert server.acknowledged.get() == ("me", "1.7.0", [])

    asyncio.run(story())


def test_gate_goes_on_telling_after_a_callback_was_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        stream, told = PlayedStream(100.0), []
        server = PlayedServer([stream])

        async def close_position(key: InstanceKey) -> None:
            told.append(key.text)
            raise asyncio.CancelledError

        async with gate_of(server).on_flatten(close_position):
            stream.parts.put(frame("snapshot", entry(**{**SHUT, "reason": "awaiting_flat"})))
            await until(lambda: not server.acknowledged.empty())

        assert told == [f"{STRATEGY}|long"]
        assert "cancelled from outside" in caplog.text

    with caplog.at_level(logging.ERROR):
        asyncio.run(story())


def test_gate_survives_a_defect_and_stays_closed(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> ActivationReading:
        raise ZeroDivisionError

    async def story() -> None:
        async with gate_of(PlayedServer([], poll=broken), line=LineSettings(stream=False)) as gate:
            await until(lambda: gate.failure is not None)

            assert "ZeroDivisionError" in str(gate.failure)
            assert not gate.check("long", reduces=True).allowed

    with caplog.at_level(logging.ERROR):
        asyncio.run(story())

    assert "went wrong" in caplog.text


def test_gate_whose_settings_do_not_go_with_the_world_stays_closed() -> None:
    async def story() -> None:
        server = PlayedServer([], poll=polled, lease=1.0)
        async with gate_of(server, line=LineSettings(poll_seconds=2.0)) as gate:
            await until(lambda: gate.failure is not None)

            assert gate.status is GateStatus.ERROR
            assert not await gate.wait_until_ready(0)

    asyncio.run(story())


def test_gate_that_has_heard_nothing_acknowledges_nothing() -> None:
    with pytest.raises(SdkError, match="nothing was heard"):
        asyncio.run(gate_of(PlayedServer([])).acknowledge_flat())


def answering(text: bytes, ask: Callable[[AsyncWorldsClient], Awaitable[object]]) -> tuple[object, bytes]:
    """Ask a server that answers every connection with ``text`` and ends it; return what came of it, and the request."""
    asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(text)
        writer.close()

    async def story() -> object:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with (
            server,
            AsyncWorldsClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/qw", "x") as client,
        ):
            return await ask(client)

    return asyncio.run(story()), asked[0]


def test_client_asks_as_the_other_one_does() -> None:
    body = json.dumps(wire_activation()).encode()
    text = b"HTTP/1.1 200 OK\r\nLease-Ms: 4200\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    reading, asked = answering(text, lambda client: client.activation(WORLD, STRATEGY, "long", known_etag="1.2.3-x"))

    assert isinstance(reading, ActivationReading)
    assert (reading.envelope, reading.lease_ms) == (activation(), 4200.0)
    assert asked.startswith(b"GET /qw/worlds/crypto/activation?strategy_id=sma-5-20.AAPL&side=long HTTP/1.1\r\n")
    assert b'\r\nIf-None-Match: "1.2.3-x"\r\n' in asked
    assert b"\r\nAuthorization: Bearer x\r\n" in asked


def test_client_streams_until_the_server_ends() -> None:
    text = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )

    async def read(client: AsyncWorldsClient) -> list[bytes]:
        stream = await client.open_stream(WORLD, STRATEGY, client_id="me", last_seen=Position(1, 2, 3))
        with closing(stream):
            return [await stream.read(5), await stream.read(5)]

    found, asked = answering(text, read)

    assert found == [b"abc", b""]
    assert b"?strategy_id=sma-5-20.AAPL&client_id=me HTTP" in asked
    assert b"\r\nLast-Event-ID: 1.2.3\r\n" in asked


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal", ServerUnreachableError),
        (b"HTTP/1.1 200", ServerUnreachableError),
        (b"SSH-2.0\r\n\r\n", ServerUnreachableError),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", ReplyInvalidError),
    ],
)
def test_client_makes_an_sdk_error_of_whatever_is_no_answer(text: bytes, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        answering(text, lambda client: client.activation(WORLD, STRATEGY, "long"))
    with pytest.raises(SdkError):
        answering(text, lambda client: client.open_stream(WORLD, STRATEGY))
