"""As little of a WSGI server as there can be: a thread a connection, httptools, no more. Prints its port.

What Django costs behind it is what it costs behind any good dedicated server, or less.
"""

from __future__ import annotations

import socket
import sys
import threading
from typing import Any, cast

import httptools
from django.core.wsgi import get_wsgi_application

from qmtl_worlds.wsgi_pool import Wsgi, WsgiPool

HOST = "127.0.0.1"


class Connection:
    """One connection: reads requests without a body, and answers."""

    def __init__(self, pool: WsgiPool, made: socket.socket) -> None:
        """Take it over."""
        self._pool = pool
        self._socket = made
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []

    def run(self) -> None:
        """Serve until the peer goes away."""
        parser = httptools.HttpRequestParser(self)
        while data := self._socket.recv(65_536):
            parser.feed_data(data)

    def on_message_begin(self) -> None:
        """Begin."""
        self._url, self._headers = b"", []

    def on_url(self, url: bytes) -> None:
        """Take the address."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._headers.append((name.lower(), value))

    def on_message_complete(self) -> None:
        """Answer."""
        parsed = httptools.parse_url(self._url)
        scope: dict[str, Any] = {
            "method": "GET",
            "path": parsed.path.decode(),
            "query_string": parsed.query or b"",
            "http_version": "1.1",
            "headers": self._headers,
            "server": (HOST, 80),
        }
        answer = self._pool.answer_here(scope, b"")
        head = [b"HTTP/1.1 %d OK" % answer.status, *(b"%s: %s" % header for header in answer.headers)]
        self._socket.sendall(b"\r\n".join([*head, b"", answer.body]))


def main() -> None:
    """Serve for ever."""
    pool = WsgiPool(cast("Wsgi", get_wsgi_application()), threads=1)
    listening = socket.create_server((HOST, int(sys.argv[1])), backlog=128)
    while True:
        made, _ = listening.accept()
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=Connection(pool, made).run, daemon=True).start()


if __name__ == "__main__":
    main()
