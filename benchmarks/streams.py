"""P8: what streams cost, and how soon everyone has heard, for 1,000 to 10,000 subscribers of one world.

Each size stands beside a raw uvloop writer of the same frame, which knows no heartbeats: the lease is 30 s here.
Prints a Markdown table; ``--json PATH`` writes the figures, ``--check`` exits with 1 on a miss, ``--sizes 1000 2000``
takes some.
"""

from __future__ import annotations

import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.activation import environment_in, raise_limits
from benchmarks.harness import Figure, options, report
from benchmarks.servers import (
    CLIENT_CORE,
    HOST,
    LIVE,
    SMALL,
    Server,
    free_port,
    percentile,
    pin,
    prepare,
    request_bytes,
    run,
    say,
    serve,
    talk,
)
from benchmarks.subscribers import Subscribers
from qmtl_worlds.embedded import postgres, valkey

SIZES: Final = (1_000, 2_000, 5_000, 10_000)
EVENTS: Final = 10
MISSED: Final = 999.0
SKEW_LIMITS_MS: Final = {2_000: 250.0, 5_000: 500.0}
MARKS: Final = {"freeze": b'"gate":"reduce_only"', "unfreeze": b'"gate":"open"', "kill": b'"gate":"closed"'}
FRAME: Final = b"event: activation\nid: 1.1.0\ndata: %s\n\n" % (b"x" * 700)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a server did for so many subscribers; times in milliseconds, CPU in microseconds."""

    served: int
    skews: list[float]
    cpu_each: float
    kib_each: float
    connect_each: float
    kill_ms: float = 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and judge where asked to."""
    parser = options(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    chosen = parser.parse_args(arguments)
    pin(CLIENT_CORE)
    raise_limits()
    figures = [figure for size in chosen.sizes for figure in _tried(size)]
    return report(figures, json_path=chosen.json, check=chosen.check)


def _tried(size: int) -> list[Figure]:
    """Return the figures of a size; one that could not be served is a miss, and the next size has its turn."""
    try:
        return list(_figures(size))
    except (AssertionError, OSError) as error:
        return [Figure("P8", f"{size:,} subscribers: {error}", 0.0, "", "served", float(size), MISSED, goal=1.0)]


def _figures(size: int) -> Iterator[Figure]:
    raw, live = _raw(size), _live(size)
    name = f"{size:,} subscribers"
    if live.served != size:
        raise AssertionError(f"{live.served} of {size} were served")
    ratio = live.cpu_each / raw.cpu_each
    yield Figure("P8", f"{name}: an event each", live.cpu_each, "us CPU", "raw writer", raw.cpu_each, ratio, goal=2.5)
    mine, floor = percentile(live.skews), percentile(raw.skews)
    yield Figure("P8", f"{name}: commit to client, p99", mine, "ms", "raw writer", floor, mine / floor)
    yield Figure("-", f"{name}: commit to client, median", statistics.median(live.skews), "ms")
    if limit := SKEW_LIMITS_MS.get(size):
        yield Figure("P8", f"{name}: commit to client, p99", mine, "ms", "limit", limit, mine / limit, goal=1.0)
    yield Figure("P8", f"{name}: memory each", live.kib_each, "KiB", "limit", 16.0, live.kib_each / 16, goal=1.0)
    connect = live.connect_each
    yield Figure("P8", f"{name}: connect each", connect, "us CPU", "limit", 300.0, connect / 300, goal=1.0)
    limit = SKEW_LIMITS_MS.get(size, SKEW_LIMITS_MS[5_000])
    goal = 1.0 if size in SKEW_LIMITS_MS else None
    killed = f"{name}: kill right behind three changes, last client"
    yield Figure("P8", killed, live.kill_ms, "ms", "limit", limit, live.kill_ms / limit, goal=goal)


def _live(size: int) -> Measured:
    database = postgres.start()
    try:
        with tempfile.TemporaryDirectory(prefix="qw-") as folder, valkey.serve(Path(folder)) as redis_url:
            environment = environment_in(folder, redis_url, database.url)
            tokens = json.loads(prepare("benchmarks.live_world", SMALL, environment=environment))
            requests = [
                request_bytes(f"/worlds/{SMALL}/events", {"Authorization": f"Bearer {tokens[number % len(tokens)]}"})
                for number in range(size)
            ]
            with (
                serve(LIVE, environment=environment) as server,
                talk("benchmarks.live_writer", environment=environment) as writer,
            ):
                return _measure(server, requests, b"event: snapshot", lambda verb: say(writer, verb), kill=True)
    finally:
        database.stop()


def _raw(size: int) -> Measured:
    port = free_port()
    with run([sys.executable, "-m", "benchmarks.raw_stream", str(port)], port, environment=_plain()) as server:
        putting = socket.create_connection((HOST, port))

        def put(verb: str) -> int:
            putting.sendall(FRAME.replace(b"xxxx" * 8, MARKS[verb].ljust(32), 1))
            return time.monotonic_ns()

        return _measure(server, [request_bytes("/", {})] * size, b"event-stream", put, kill=False)


def _measure(
    server: Server, requests: list[bytes], first: bytes, change: Callable[[str], int], *, kill: bool
) -> Measured:
    memory, cpu = server.resident_kib(), server.cpu_ns()
    with Subscribers(server.port, requests, first) as readers:
        connect_each = (server.cpu_ns() - cpu) / 1000 / len(requests)
        readers.rest()
        kib_each = (server.resident_kib() - memory) / len(requests)
        skews: list[float] = []
        spent = 0
        for number in range(EVENTS):
            verb = ("freeze", "unfreeze")[number % 2]
            before = server.cpu_ns()
            committed = change(verb)
            heard = readers.heard(MARKS[verb], count=len(requests))
            spent += server.cpu_ns() - before
            skews += [(at - committed) / 1e6 for at in heard]
            if len(heard) != len(requests):
                raise AssertionError(f"{len(heard)} of {len(requests)} heard of a change")
            readers.rest()
        kill_ms = _kill(readers, change, len(requests)) if kill else 0.0
        cpu_each = spent / 1000 / EVENTS / len(requests)
        return Measured(readers.served, skews, cpu_each, kib_each, connect_each, kill_ms)


def _kill(readers: Subscribers, change: Callable[[str], int], size: int) -> float:
    """Kill right behind other changes, and return when the last one had heard of it."""
    for verb in ("freeze", "unfreeze", "freeze"):
        change(verb)
    committed = change("kill")
    return (readers.heard(MARKS["kill"], count=size)[-1] - committed) / 1e6


def _plain() -> Mapping[str, str]:
    return environment_in(tempfile.gettempdir(), "unix:///none")


if __name__ == "__main__":
    sys.exit(main())
