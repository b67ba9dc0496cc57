"""The calls that a gate needs, for programs on asyncio; streams of the standard library, nothing else."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.contracts.ids import InstanceKey, check_side
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.sdk.address import Address, read_address
from qmtl_worlds.sdk.errors import ReplyInvalidError, ServerUnreachableError, refusal
from qmtl_worlds.sdk.http_text import MAX_HEAD_BYTES, Body, Head, TextError, read_head
from qmtl_worlds.sdk.permission import ActivationReading
from qmtl_worlds.sdk.reading import read_activation
from qmtl_worlds.sdk.runner_calls import acknowledge_call, activation_call, read_lease_seconds, stream_call
from qmtl_worlds.sdk.session import Call, JsonObject, make_request, path_of, read_object
from qmtl_worlds.sdk.stream import CHUNK_BYTES, EVENT_STREAM
from qmtl_worlds.sdk.transport import Reply, Request

MAX_REPLY_BYTES: Final = 16 * 1024 * 1024
_FAILURES: Final = (OSError, EOFError, asyncio.LimitOverrunError, TextError)


class AsyncStream:
    """One open answer: its head, and its body as it comes; ``sent_at`` as in ``Reply``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, sent_at: float) -> None:
        """Begin to read; ``open_answer`` has sent the request."""
        self._reader = reader
        self._writer = writer
        self.sent_at = sent_at
        self.head = Head(0, {})
        self._body = Body(self.head)

    async def begin(self) -> None:
        """Read the head."""
        self.head = read_head(await self._reader.readuntil(b"\r\n\r\n"))
        self._body = Body(self.head)

    async def read(self, timeout_seconds: float) -> bytes:
        """Wait for more and return it; empty at the end of the stream.

        Raises:
            ServerUnreachableError: nothing came in time, or the connection broke.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._part()
        except _FAILURES as error:
            raise _unreachable(error) from error

    async def whole(self) -> bytes:
        """Return the whole body."""
        parts, size = [], 0
        while part := await self._part():
            parts.append(part)
            size += len(part)
            if size > MAX_REPLY_BYTES:
                raise TextError(f"the reply is larger than {MAX_REPLY_BYTES} bytes")
        return b"".join(parts)

    def close(self) -> None:
        """Close; what is still on the way is not waited for."""
        self._writer.close()

    async def _part(self) -> bytes:
        while not self._body.is_over:
            data = await self._reader.read(CHUNK_BYTES)
            if not data and not self._body.needs_end:
                raise EOFError("the answer ended before it was whole")
            if not data or (part := self._body.feed(data)):
                return part if data else b""
        return b""


async def open_answer(address: Address, request: Request, *, monotonic: Callable[[], float]) -> AsyncStream:
    """Send a request on a new connection and return its answer, whatever its status.

    Raises:
        ServerUnreachableError: no head of an answer came in time.
    """
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(request.timeout_seconds):
            secure = ssl.create_default_context() if address.is_secure else None
            reader, writer = await asyncio.open_connection(address.host, address.port, ssl=secure, limit=MAX_HEAD_BYTES)
            answer = AsyncStream(reader, writer, sent_at=monotonic())
            writer.write(_text_of(address, request))
            await writer.drain()
            await answer.begin()
            writer = None
            return answer
    except _FAILURES as error:
        raise _unreachable(error) from error
    finally:
        if writer is not None:
            writer.close()


class AsyncWorldsClient:
    """What ``AsyncOrderGate`` asks of the server behind ``base_url``, with one token; each call is a connection."""

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        timeout_seconds: float = 5.0,
        monotonic: Callable[[], float] = boot_time,
    ) -> None:
        """Connect at each call; redirects and proxies are not followed."""
        self._address = read_address(base_url)
        self._authorization = f"Bearer {token}"
        self._timeout_seconds = timeout_seconds
        self._monotonic = monotonic

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hold nothing."""

    async def activation(
        self,
        world_id: str,
        strategy_id: str,
        side: str,
        *,
        known_etag: str | None = None,
        consistent: bool = False,
        client_id: str | None = None,
    ) -> ActivationReading:
        """Ask for one activation, once; as ``WorldsClient.activation``."""
        call = activation_call(
            world_id,
            InstanceKey(strategy_id, check_side(side)),
            client_id=client_id,
            known_etag=known_etag,
            consistent=consistent,
            timeout_seconds=self._timeout_seconds,
        )
        return read_activation(await self._send(call), known_etag=known_etag)

    async def open_stream(
        self, world_id: str, strategy_id: str, *, client_id: str | None = None, last_seen: Position | None = None
    ) -> AsyncStream:
        """Open the stream of one strategy; as ``WorldsClient.open_stream``."""
        call = stream_call(world_id, strategy_id, client_id=client_id, last_seen=last_seen)
        stream = await open_answer(self._address, self._request(call), monotonic=self._monotonic)
        kind = stream.head.headers.get("content-type", "").partition(";")[0]
        if stream.head.status == HTTPStatus.OK and kind == EVENT_STREAM:
            return stream
        try:
            if stream.head.status >= HTTPStatus.BAD_REQUEST:
                raise refusal(stream.head.status, await stream.read(self._timeout_seconds))
            raise ReplyInvalidError(f"status {stream.head.status} with {kind} is no stream")
        finally:
            stream.close()

    async def acknowledge(
        self, world_id: str, *, client_id: str, heard: Position, flat: Sequence[InstanceKey] = ()
    ) -> JsonObject:
        """Say how far this Runner has heard, and what is flat; as ``WorldsClient.acknowledge``, but sent once."""
        call = acknowledge_call(world_id, client_id=client_id, heard=heard, flat=flat)
        return read_object((await self._send(call)).body)

    async def lease_seconds(self, world_id: str) -> float:
        """Return the lease of a world."""
        reply = await self._send(Call("GET", path_of("worlds", world_id)))
        return read_lease_seconds(read_object(reply.body))

    def _request(self, call: Call) -> Request:
        return make_request(call, authorization=self._authorization, timeout_seconds=self._timeout_seconds)

    async def _send(self, call: Call) -> Reply:
        """Send once and return a reply that is no refusal."""
        request = self._request(call)
        answer = await open_answer(self._address, request, monotonic=self._monotonic)
        try:
            async with asyncio.timeout(request.timeout_seconds):
                body = await answer.whole()
        except _FAILURES as error:
            raise _unreachable(error) from error
        finally:
            answer.close()
        if answer.head.status >= HTTPStatus.BAD_REQUEST:
            raise refusal(answer.head.status, body)
        return Reply(answer.head.status, answer.head.headers, body, answer.sent_at)


def _text_of(address: Address, request: Request) -> bytes:
    body = request.body or b""
    headers = {"Host": address.authority, "Connection": "close", **request.headers}
    if request.body is not None:
        headers["Content-Length"] = str(len(body))
    lines = [f"{request.method} {address.prefix}{request.target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if any(character in line for line in lines for character in "\r\n"):
        raise TextError("a header holds a line break")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _unreachable(error: Exception) -> ServerUnreachableError:
    return ServerUnreachableError(f"No whole answer from the server: {type(error).__name__}: {error}")
