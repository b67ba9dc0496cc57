"""The product's own web application on a loopback port, in a thread of the test."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from qmtl_worlds import asgi
from qmtl_worlds.lanes import Lanes
from worlds.live.app import Live


@contextmanager
def served() -> Iterator[str]:
    """Serve the hot routes and Django's, as the web process does, and yield the address."""
    live: Live = asgi._application()  # noqa: SLF001 - another one for each test: it remembers what it read
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            live,
            http="qmtl_worlds.connections:GuardedProtocol",
            loop="uvloop",
            ws="none",
            lifespan="off",
            log_level="error",
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="web")
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        live.stop()
        lanes = live._django  # noqa: SLF001
        assert isinstance(lanes, Lanes)
        lanes.close()
