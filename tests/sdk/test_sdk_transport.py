"""The transport against a real server on the loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from qmtl_worlds.sdk.errors import ServerUnreachableError
from qmtl_worlds.sdk.transport import HttpTransport, Request


class Handler(BaseHTTPRequestHandler):
    """Keeps connections open, and breaks them where the path says so."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    connections: ClassVar[list[int]] = []
    first_is_read = threading.Event()
    is_doubled = threading.Event()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        pass

    def _answer(self) -> None:
        self.connections.append(self.client_address[1])
        if self.path.endswith("/broken"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            self.close_connection = True
            return
        body = f"{self.command} {self.path}".encode()
        named = "" if self.path.endswith("/nameless") else f"X-Request-ID: {self.headers['X-Request-ID']}\r\n"
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nLease-Ms: 5000\r\n{named}\r\n"
        self.wfile.write(head.encode() + body)
        if self.path.endswith("/doubled"):
            self.first_is_read.wait()
            self.wfile.write(head.encode() + body)
            self.is_doubled.set()
        self.close_connection = self.path.endswith("/last")


@pytest.fixture
def address() -> Iterator[str]:
    Handler.connections = []
    Handler.first_is_read.clear()
    Handler.is_doubled.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def transport(address: str) -> Iterator[HttpTransport]:
    transport = HttpTransport(f"{address}/prefix/", monotonic=lambda: 42.0)
    yield transport
    transport.close()


def get(path: str) -> Request:
    return Request("GET", path, {"X-Request-ID": path}, repeatable=True)


def test_transport_keeps_its_connection_and_lowers_header_names(transport: HttpTransport) -> None:
    first = transport.send(get("/a"))
    second = transport.send(get("/b"))

    assert first.body == b"GET /prefix/a"
    assert first.headers["lease-ms"] == "5000"
    assert first.sent_at == 42.0
    assert second.body == b"GET /prefix/b"
    assert len(set(Handler.connections)) == 1


def test_transport_sends_reads_anew_where_the_kept_connection_is_dead(transport: HttpTransport) -> None:
    transport.send(get("/last"))

    again = transport.send(get("/b"))

    assert again.status == 200
    assert len(set(Handler.connections)) == 2


def test_transport_opens_a_connection_for_every_write_that_must_not_repeat(transport: HttpTransport) -> None:
    transport.send(get("/a"))
    transport.send(Request("POST", "/b", {}, b"{}"))
    transport.send(Request("POST", "/c", {}, b"{}"))

    assert len(set(Handler.connections)) == 3


def test_a_reply_that_came_twice_is_not_taken_for_the_next_one(transport: HttpTransport) -> None:
    transport.send(get("/doubled"))
    Handler.first_is_read.set()
    assert Handler.is_doubled.wait(10)

    second = transport.send(get("/b"))

    assert second.body == b"GET /prefix/b"
    assert len(set(Handler.connections)) == 2


def test_a_connection_whose_replies_do_not_name_their_requests_is_not_kept(transport: HttpTransport) -> None:
    first, second = transport.send(get("/a/nameless")), transport.send(get("/b/nameless"))

    assert (first.body, second.body) == (b"GET /prefix/a/nameless", b"GET /prefix/b/nameless")
    assert len(set(Handler.connections)) == len(Handler.connections) == 2


def test_half_a_reply_is_no_reply(transport: HttpTransport) -> None:
    with pytest.raises(ServerUnreachableError, match="IncompleteRead"):
        transport.send(get("/broken"))

    assert len(Handler.connections) == 1


def test_server_that_is_not_there_is_unreachable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        transport = HttpTransport(f"http://127.0.0.1:{free.getsockname()[1]}")

        with pytest.raises(ServerUnreachableError, match="ConnectionRefused"):
            transport.send(get("/a"))


def test_server_that_does_not_answer_is_unreachable_after_the_timeout() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        transport = HttpTransport(f"http://127.0.0.1:{silent.getsockname()[1]}")

        with pytest.raises(ServerUnreachableError, match="Timeout"):
            transport.send(Request("GET", "/a", {}, repeatable=True, timeout_seconds=0.05))


@pytest.mark.parametrize("address", ["ftp://x", "localhost:8000", "http://", "http://user:secret@host"])
def test_transport_refuses_what_is_no_plain_server_address(address: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        HttpTransport(address)
