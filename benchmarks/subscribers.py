"""Many streams read in one thread: when each heard of what, in nanoseconds of the monotonic clock."""

from __future__ import annotations

import select
import socket
import time
from types import TracebackType
from typing import Final

from benchmarks.servers import HOST

AT_ONCE: Final = 100
SETTLE_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 60.0


class Subscribers:
    """Open streams."""

    def __init__(self, port: int, requests: list[bytes], first: bytes) -> None:
        """Open one stream a request, and wait until each has begun: ``first`` has come on it."""
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self.served = 0
        for start in range(0, len(requests), AT_ONCE):
            for request in requests[start : start + AT_ONCE]:
                made = socket.create_connection((HOST, port), timeout=PATIENCE_SECONDS)
                made.sendall(request)
                self._sockets[made.fileno()] = made
                self._poll.register(made, select.EPOLLIN)
            wanted = min(AT_ONCE, len(requests) - start)
            self.served += len(self.heard(first, count=wanted))

    def __enter__(self) -> Subscribers:
        """Return them."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leave."""
        for one in self._sockets.values():
            one.close()
        self._poll.close()

    def heard(self, mark: bytes, *, count: int) -> list[int]:
        """Return when each of ``count`` streams first brought ``mark``, in order."""
        told: dict[int, int] = {}
        tails: dict[int, bytes] = {}
        until = time.monotonic() + PATIENCE_SECONDS
        while len(told) < count and time.monotonic() < until:
            for number, _ in self._poll.poll(0.5):
                data = tails.get(number, b"") + self._sockets[number].recv(262_144)
                if mark in data:
                    told.setdefault(number, time.monotonic_ns())
                tails[number] = data[-len(mark) :]
        return sorted(told.values())

    def rest(self) -> None:
        """Read what is on its way, for a moment."""
        until = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < until:
            for number, _ in self._poll.poll(0.05):
                self._sockets[number].recv(262_144)
