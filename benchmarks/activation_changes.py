"""P6 and P7: how soon a change is readable, and what reads notice of evaluations beside them."""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Final

from benchmarks.harness import Figure
from benchmarks.servers import HOST, LIVE, SMALL, ask, is_whole, percentile, request_bytes, say, serve, talk

CHANGES: Final = 100
READS_PER_SECOND: Final = 500
READING_SECONDS: Final = 10.0
EVALUATED: Final = 10_000
PATH: Final = f"/worlds/{SMALL}/activation?strategy_id=s1"


def measure_changes(*, environment: Mapping[str, str], token: str, where: str, goal_ms: float) -> Iterator[Figure]:
    """Freeze and unfreeze, and ask without pause until the answer says so."""
    request, taken = request_bytes(PATH, {"Authorization": f"Bearer {token}"}), []
    with serve(LIVE, environment=environment) as server, talk("benchmarks.live_writer", environment=environment) as to:
        ask(server.port, PATH, {"Authorization": f"Bearer {token}"})
        reader = socket.create_connection((HOST, server.port))
        for number in range(CHANGES + 2):
            verb, gate = (("freeze", b'"gate":"reduce_only"'), ("unfreeze", b'"gate":"open"'))[number % 2]
            committed = say(to, verb)
            while gate not in _answer(reader, request):
                if time.monotonic_ns() - committed > 10**10:
                    raise AssertionError("the change was never readable")
            taken.append((time.monotonic_ns() - committed) / 1e6)
    settled = taken[2:]
    for name, value, goal in (
        ("median", statistics.median(settled), None),
        ("p99", percentile(settled), 1.0),
    ):
        text = f"commit to readable, {where}, {name} of {CHANGES}"
        yield Figure("P7", text, value, "ms", "limit", goal_ms, value / goal_ms, goal=goal)


def measure_evaluating(*, environment: Mapping[str, str], token: str) -> Iterator[Figure]:
    """Read at a fixed rate, first beside nothing, then beside evaluations of 10,000 strategies."""
    request = request_bytes(PATH, {"Authorization": f"Bearer {token}"})
    with serve(LIVE, environment=environment) as server:
        ask(server.port, PATH, {"Authorization": f"Bearer {token}"})
        idle = percentile(list(_latencies(server.port, request)))
        with talk("benchmarks.evaluating", environment=environment) as evaluating:
            say(evaluating, str(EVALUATED))
            busy = percentile(list(_latencies(server.port, request)))
            count = say(evaluating, "stop")
    if not count:
        raise AssertionError("nothing was evaluated meanwhile")
    name = f"read p99 at {READS_PER_SECOND} a second beside {count} evaluations of {EVALUATED:,}"
    yield Figure("P6", name, busy, "ms", "idle", idle, busy / idle, goal=2.0)


def _latencies(port: int, request: bytes) -> Iterator[float]:
    reader, start = socket.create_connection((HOST, port)), time.perf_counter()
    reader.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for number in range(int(READING_SECONDS * READS_PER_SECOND)):
        due = start + number / READS_PER_SECOND
        time.sleep(max(0.0, due - time.perf_counter()))
        sent = time.perf_counter()
        _answer(reader, request)
        yield 1000 * (time.perf_counter() - sent)
    reader.close()


def _answer(reader: socket.socket, request: bytes) -> bytes:
    reader.sendall(request)
    answer = reader.recv(65_536)
    while not is_whole(answer):
        answer += reader.recv(65_536)
    return answer
