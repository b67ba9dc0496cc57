"""The floor of a stream: uvloop transports that write one shared frame to everyone, each time a frame is put."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

HOST = "127.0.0.1"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


class Listener(asyncio.Protocol):
    """One reader; the one that sends PUT gives the frame for all."""

    everyone: set[asyncio.Transport]

    def __init__(self, everyone: set[asyncio.Transport]) -> None:
        """Share the set."""
        self.everyone = everyone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Begin to stream, or tell everyone."""
        if data.startswith(b"GET"):
            self.transport.write(HEAD)
            self.everyone.add(self.transport)
            return
        for transport in self.everyone:
            transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget it."""
        self.everyone.discard(self.transport)


async def main(port: int) -> None:
    """Serve for ever."""
    everyone: set[asyncio.Transport] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Listener(everyone), HOST, port, backlog=16_384)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
