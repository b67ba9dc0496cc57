"""P19: from the start of a web process to its first activation, beside Django's own start."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from benchmarks.harness import Figure
from benchmarks.servers import LIVE, ROOT, SMALL, ask, serve

ROUNDS: Final = 3
PATH: Final = f"/worlds/{SMALL}/activation?strategy_id=s1"


def measure_start(*, environment: Mapping[str, str], token: str) -> Iterator[Figure]:
    """Start both in turns, each a process on core 0."""
    setups, starts = [], []
    for _ in range(ROUNDS):
        setups.append(_setup_seconds(environment))
        starts.append(_start_seconds(environment, token))
    ratio = sorted(start / setup for start, setup in zip(starts, setups, strict=True))[ROUNDS // 2]
    yield Figure(
        "P19", "start to first 200", 1000 * min(starts), "ms", "django.setup()", 1000 * min(setups), ratio, goal=3.0
    )


def _setup_seconds(environment: Mapping[str, str]) -> float:
    started = time.perf_counter()
    command = ["taskset", "-c", "0", sys.executable, "-c", "import django; django.setup()"]
    subprocess.run(command, cwd=ROOT, env=dict(environment), check=True)  # noqa: S603
    return time.perf_counter() - started


def _start_seconds(environment: Mapping[str, str], token: str) -> float:
    started = time.perf_counter()
    with serve(LIVE, environment=environment) as server:
        status, _, body = ask(server.port, PATH, {"Authorization": f"Bearer {token}"})
        taken = time.perf_counter() - started
        if status != 200 or b'"active":true' not in body:  # noqa: PLR2004 - HTTP's number
            raise AssertionError(f"{status}: {body!r}")
        mapped = Path(f"/proc/{server.process.pid}/maps").read_text(encoding="utf-8")
    if "numpy" in mapped:
        raise AssertionError("the web process has loaded numpy")
    return taken
