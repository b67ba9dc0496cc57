"""P1, P2, P3, P5 and P20: what one read costs the server, beside what it is measured against, in turns."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Final

import redis

from benchmarks.harness import Figure
from benchmarks.servers import (
    LARGE,
    LIVE,
    PLAIN_KEY,
    SMALL,
    Server,
    ask,
    encode_answer,
    free_port,
    load,
    request_bytes,
    run,
    serve,
)

ROUNDS: Final = 7
VIEW: Final = f"/worlds/{SMALL}/describe"


@dataclass(slots=True)
class Target:
    """A server and one question, with what its answers cost: microseconds of processor time by round."""

    server: Server
    request: bytes
    connections: int = 16
    cost: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)

    def measure(self, seconds: float) -> None:
        """Ask for so long, and note the cost of one answer."""
        before = self.server.cpu_ns()
        count = load(self.server.port, self.request, seconds=seconds, connections=self.connections)
        self.cost.append((self.server.cpu_ns() - before) / 1000 / count)
        self.rate.append(count / seconds)


def measure_reads(*, environment: Mapping[str, str], token: str, seconds: float) -> Iterator[Figure]:
    """Serve everything at once, ask each in turns, and yield the figures."""
    with ExitStack() as stack:
        targets = _targets(stack, environment, token)
        for _ in range(ROUNDS + 1):
            for target in targets.values():
                target.measure(seconds)
    for target in targets.values():
        del target.cost[0], target.rate[0]  # the first round warms up
    yield _figure("P1", "activation, 200", targets["small"], "constant JSON", targets["bare"], goal=1.43)
    yield _figure("P2", "activation, 304", targets["same"], "constant JSON", targets["bare"], goal=1.18)
    yield _figure("-", "activation, 304", targets["same"], "constant 304", targets["bare304"])
    yield _figure("P3", "activation of 10,000", targets["large"], "of 10", targets["small"], goal=1.2)
    cheaper = _ratio(targets["drf"], targets["small"])
    yield Figure(
        "P5",
        "DRF view, database token, Redis HGET",
        statistics.median(targets["drf"].cost),
        "us CPU",
        "activation, 200",
        statistics.median(targets["small"].cost),
        cheaper,
        "at least",
        20.0,
    )
    yield _figure("P20", "a Django view", targets["view"], "under a WSGI server alone", targets["view_alone"], goal=1.3)
    for name in ("bare", "small"):
        yield Figure("-", f"best requests a second, {name}", max(targets[name].rate), "1/s")


def _targets(stack: ExitStack, environment: Mapping[str, str], token: str) -> dict[str, Target]:
    bearer = {"Authorization": f"Bearer {token}"}
    live = stack.enter_context(serve(LIVE, environment=environment))
    paths = {name: f"/worlds/{name}/activation?strategy_id=s1&side=long" for name in (SMALL, LARGE)}
    first = {name: ask(live.port, path, bearer) for name, path in paths.items()}
    for status, _, body in first.values():
        if status != 200 or not json.loads(body)["active"]:  # noqa: PLR2004 - HTTP's number
            raise AssertionError(f"{status}: {body!r}")
    _, headers, body = first[SMALL]
    known = bearer | {"If-None-Match": headers["etag"]}
    same = {name: value for name, value in headers.items() if not name.startswith("content-")}
    redis.Redis.from_url(environment["REDIS_URL"]).hset(PLAIN_KEY, "s1|long", body.decode())
    bare = stack.enter_context(_bare(environment, headers, body))
    bare304 = stack.enter_context(_bare(environment, same, b""))
    drf = stack.enter_context(serve("benchmarks.drf_asgi:application", environment=environment))
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.wsgi_server", str(port)]
    alone = stack.enter_context(run(command, port, environment=environment))
    small, view = request_bytes(paths[SMALL], bearer), request_bytes(VIEW, bearer)
    return {
        "bare": Target(bare, small),
        "small": Target(live, small),
        "large": Target(live, request_bytes(paths[LARGE], bearer)),
        "bare304": Target(bare304, request_bytes(paths[SMALL], known)),
        "same": Target(live, request_bytes(paths[SMALL], known)),
        "drf": Target(drf, small, connections=4),
        "view": Target(live, view, connections=4),
        "view_alone": Target(alone, view, connections=4),
    }


def _bare(environment: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> AbstractContextManager[Server]:
    answer = {"QW_BENCHMARK_ANSWER": encode_answer(headers, body)}
    return serve("benchmarks.bare_app:application", environment={**environment, **answer})


def _ratio(target: Target, other: Target) -> float:
    return statistics.median(mine / theirs for mine, theirs in zip(target.cost, other.cost, strict=True))


def _figure(code: str, name: str, target: Target, beside: str, other: Target, *, goal: float | None = None) -> Figure:
    cost, floor = statistics.median(target.cost), statistics.median(other.cost)
    return Figure(code, name, cost, "us CPU", beside, floor, _ratio(target, other), "at most", goal)
