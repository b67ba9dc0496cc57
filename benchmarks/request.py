"""The way of a request: from ``POST /worlds/{id}/evaluate`` to a decision on the record, through web and worker."""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from benchmarks.harness import Figure
from qmtl_worlds.embedded.programs import HOST, all_programs
from qmtl_worlds.embedded.supervisor import Supervisor

ROOT: Final = Path(__file__).resolve().parent.parent
REQUESTS: Final = 15
LIMIT_MS: Final = 1_000.0


def time_requests(
    *, data: Path, environment: Mapping[str, str], world_id: str, token: str, as_of: str
) -> Iterator[Figure]:
    """Start Valkey, web, worker, beat and tick, and time recorded evaluations of the world, one after the other."""
    port = _free_port()
    logs = data / "logs"
    programs = all_programs(base=ROOT, data=data, port=port, environment=environment, logs=logs)
    with Supervisor(programs, log_folder=logs):
        connection = http.client.HTTPConnection(HOST, port, timeout=60)
        taken = [_evaluate(connection, world_id, token, as_of, number) for number in range(REQUESTS + 2)][2:]
        connection.close()
    for name, value in [("median", statistics.median(taken)), ("slowest", max(taken))]:
        yield Figure(
            id="-",
            name=f"request to recorded decision through web and worker, 1,000 x 252, {name} of {REQUESTS}",
            value=value,
            unit="ms",
            floor_name="limit",
            floor=LIMIT_MS,
            ratio=value / LIMIT_MS,
            goal=1.0,
        )


def _evaluate(connection: http.client.HTTPConnection, world_id: str, token: str, as_of: str, number: int) -> float:
    """Ask for one recorded evaluation and return the milliseconds until its decision came back."""
    body = {"run_id": f"request-{number}", "as_of": as_of, "record": True}
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Prefer": "wait=10"}
    started = time.perf_counter()
    connection.request("POST", f"/worlds/{world_id}/evaluate", json.dumps(body), headers)
    answer = connection.getresponse()
    told = answer.read()
    taken = 1000 * (time.perf_counter() - started)
    if answer.status != http.HTTPStatus.OK or json.loads(told)["verdict"] != "ok":
        raise AssertionError(f"{answer.status}: {told[:300]!r}")
    return taken


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
