"""How soon applies, evaluations and overrides of 200 strategies are answered while reads run at full load."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.harness import Figure
from benchmarks.servers import (
    ACTED,
    CLIENT_CORE,
    HOST,
    LIVE,
    ROOT,
    ask,
    load,
    percentile,
    prepare,
    request_bytes,
    serve,
)
from qmtl_worlds.embedded.programs import all_programs

LIMIT_MS: Final = 300.0
PATH: Final = f"/worlds/{ACTED}/activation?strategy_id=strategy-00000&side=long"
_LONG: Final = 600.0


def measure_acts(*, environment: Mapping[str, str], folder: Path, acts: int) -> Iterator[Figure]:
    """Serve a world, read it without rest, and time ``acts`` of each kind meanwhile."""
    gateway, runner = json.loads(prepare("benchmarks.acts_world", environment=environment))
    with ExitStack() as stack:
        server = stack.enter_context(serve(LIVE, environment=environment))
        for name in ("worker", "tick"):
            stack.enter_context(_beside(name, folder, environment))
        bearer = {"Authorization": f"Bearer {runner}"}
        ask(server.port, PATH, bearer)
        connection = http.client.HTTPConnection(HOST, server.port, timeout=60)
        _wait_for_worker(connection, gateway)
        reads = stack.enter_context(_reading(server.port, request_bytes(PATH, bearer)))
        taken = {name: [_timed(connection, gateway, name, number) for number in range(acts)] for name in KINDS}
        if not reads.is_alive():
            raise AssertionError("the reads ended before the acts")
        connection.close()
    for name, times in taken.items():
        yield Figure(
            id="-",
            name=f"{name} of 200 strategies beside reads at full load, p99 of {acts}",
            value=percentile(times),
            unit="ms",
            floor_name="limit",
            floor=LIMIT_MS,
            ratio=percentile(times) / LIMIT_MS,
            goal=1.0,
        )


def _timed(connection: http.client.HTTPConnection, token: str, kind: str, number: int) -> float:
    method, route, body = KINDS[kind](number)
    started = time.perf_counter()
    status, told = _ask(connection, token, method, route, body)
    taken = 1000 * (time.perf_counter() - started)
    if status not in {http.HTTPStatus.OK, http.HTTPStatus.ACCEPTED}:
        raise AssertionError(f"{kind}: {status} {told[:300]!r}")
    return taken


def _ask(
    connection: http.client.HTTPConnection, token: str, method: str, route: str, body: Mapping[str, Any]
) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request(method, f"/worlds/{ACTED}/{route}", json.dumps(body), headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def _apply(number: int) -> tuple[str, str, dict[str, Any]]:
    return "POST", "apply", {"run_id": f"apply-{number}"}


def _evaluate(number: int) -> tuple[str, str, dict[str, Any]]:
    return "POST", "evaluate", {"run_id": f"evaluate-{number}", "record": True}


def _put(number: int) -> tuple[str, str, dict[str, Any]]:
    side = ("long", "short")[number % 2]
    wish = {"strategy_id": f"strategy-{number % 200:05}", "side": side, "active": False}
    return "PUT", "activation", {**wish, "reason": "benchmark", "ttl_seconds": 3600}


KINDS: Final = {"apply": _apply, "evaluate": _evaluate, "PUT activation": _put}


def _wait_for_worker(connection: http.client.HTTPConnection, token: str) -> None:
    """Evaluate once, so that the worker is there and warm."""
    for number in range(200):
        status, _ = _ask(connection, token, *_evaluate(10**6 + number))
        if status == http.HTTPStatus.OK:
            return
        time.sleep(0.25)
    raise AssertionError("the worker never answered")


@contextmanager
def _beside(name: str, folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Run another program of the server on the other core."""
    programs = all_programs(base=ROOT, data=folder, port=0, environment=environment, logs=folder)
    program = next(program for program in programs if program.name == name)
    given = dict(environment) | dict(program.environment)
    with (
        (folder / f"{name}.log").open("wb") as log,
        subprocess.Popen(program.command, cwd=ROOT, env=given, stdout=log, stderr=log) as process,  # noqa: S603
    ):
        os.sched_setaffinity(process.pid, {CLIENT_CORE})
        try:
            yield
        finally:
            process.terminate()
            process.wait()


@contextmanager
def _reading(port: int, request: bytes) -> Iterator[multiprocessing.process.BaseProcess]:
    """Ask without rest on 16 connections, from a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=load, args=(port, request), kwargs={"seconds": _LONG}, daemon=True)
    process.start()
    time.sleep(1.0)
    try:
        yield process
    finally:
        process.kill()
        process.join()
