"""Servers under measurement, each a process on core 0; the load comes from here, on core 1."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
HOST: Final = "127.0.0.1"
SERVER_CORE: Final = 0
CLIENT_CORE: Final = 1
SMALL: Final = "small"
LARGE: Final = "large"
"""The worlds of ``live_world``, of 10 instances and of 10,000."""
ACTED: Final = "acted"
"""The world of ``acts_world``."""
PLAIN_KEY: Final = "world:small:active"
"""The hash that the view of ``drf_app`` reads."""
LIVE: Final = "qmtl_worlds.asgi:application"
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_START_SECONDS: Final = 120.0
_LENGTH: Final = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_kib(self) -> int:
        """Return how much memory it holds."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 1024

    def cpu_ns(self) -> int:
        """Return the processor time in nanoseconds, as the scheduler counts it for all its threads."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text(encoding="ascii").split()[0]) for thread in threads)


def pin(core: int) -> None:
    """Keep this process on one core, where there are two."""
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {core})


def serve(application: str, *, environment: Mapping[str, str]) -> AbstractContextManager[Server]:
    """Run an ASGI application under uvicorn as the product does, pinned to core 0."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", application, "--host", HOST, "--port", str(port), "--loop", "uvloop"]
    command += ["--http", "qmtl_worlds.connections:GuardedProtocol", "--no-access-log", "--no-server-header"]
    command += ["--lifespan", "off", "--log-level", "error", "--backlog", "16384"]
    return run(command, port, environment=environment)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def run(command: Sequence[str], port: int, *, environment: Mapping[str, str]) -> Iterator[Server]:
    """Run a server that listens on ``port``, pinned to core 0."""
    with subprocess.Popen(command, cwd=ROOT, env=dict(environment)) as process:  # noqa: S603
        try:
            os.sched_setaffinity(process.pid, {SERVER_CORE})
            _wait_until_listening(port, process)
            yield Server(process, port)
        finally:
            process.kill()


@contextmanager
def talk(module: str, *, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a module inside Django that is talked to by lines, pinned to core 1."""
    command = [sys.executable, "-m", "benchmarks.ready", module]
    with subprocess.Popen(  # noqa: S603
        command, cwd=ROOT, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        os.sched_setaffinity(process.pid, {CLIENT_CORE})
        try:
            yield process
        finally:
            process.kill()


def say(process: subprocess.Popen[str], word: str) -> int:
    """Say a word, and return the number that comes back."""
    if process.stdin is None or process.stdout is None:
        raise AssertionError("the process does not listen")
    process.stdin.write(f"{word}\n")
    process.stdin.flush()
    return int(process.stdout.readline())


def prepare(module: str, *arguments: str, environment: Mapping[str, str]) -> str:
    """Run a module inside Django to its end, and return the last line that it printed."""
    command = [sys.executable, "-m", "benchmarks.ready", module, *arguments]
    done = subprocess.run(  # noqa: S603
        command, cwd=ROOT, env=dict(environment), check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.splitlines()[-1]


def ask(port: int, path: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Ask once on a connection of its own."""
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    connection.request("GET", path, headers=dict(headers))
    answer = connection.getresponse()
    told = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, told


def encode_answer(headers: Mapping[str, str], body: bytes) -> str:
    """Return an answer as text for an environment variable."""
    return json.dumps([list(headers.items()), base64.b64encode(body).decode()])


def decode_answer(text: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return what ``encode_answer`` made, but for what the server adds by itself."""
    headers, body = json.loads(text)
    kept = [(name.encode(), value.encode()) for name, value in headers if name not in {"date", "server"}]
    return kept, base64.b64decode(body)


def request_bytes(path: str, headers: Mapping[str, str]) -> bytes:
    """Return a GET as it goes over the wire."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {HOST}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def load(port: int, request: bytes, *, seconds: float, connections: int = 16) -> int:
    """Ask again and again on kept connections, and return how many whole answers came."""
    poll, sockets, got = select.epoll(), {}, {}
    for _ in range(connections):
        made = socket.create_connection((HOST, port))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[made.fileno()], got[made.fileno()] = made, b""
        poll.register(made, select.EPOLLIN)
        made.sendall(request)
    count, until = 0, time.perf_counter() + seconds
    while time.perf_counter() < until or not count:
        for number, _ in poll.poll(0.1):
            got[number] += sockets[number].recv(65_536)
            if is_whole(got[number]):
                count += 1
                got[number] = b""
                sockets[number].sendall(request)
    for made in sockets.values():
        made.close()
    poll.close()
    return count


def is_whole(answer: bytes) -> bool:
    """Tell whether an answer has come to its end.

    Raises:
        AssertionError: it is none, or refuses.
    """
    head, between, body = answer.partition(b"\r\n\r\n")
    if not head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 304 ")):
        raise AssertionError(f"not an answer: {answer[:500]!r}")
    if not between:
        return False
    length = _LENGTH.search(head)
    return length is None or len(body) >= int(length[1])


def percentile(taken: Sequence[float], share: float = 0.99) -> float:
    """Return the value that ``share`` of ``taken`` does not exceed."""
    ordered = sorted(taken)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _wait_until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection((HOST, port), timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server did not come up")
