"""P10, P11, P12 and the way of a request: what evaluating 100, 1,000 and 10,000 strategies over 252 days costs.

Prints a Markdown table with every figure beside its floor; ``--json PATH`` writes the figures, ``--check`` exits with 1
on a miss. Runs itself again with one BLAS thread where it was given more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks import correlation, metrics
from benchmarks.harness import ONE_THREAD, Figure, options, report
from benchmarks.request import time_requests

ROOT: Final = Path(__file__).resolve().parent.parent

_FOREIGN: Final = ("DATABASE_URL", "REDIS_URL")
"""Servers that the surroundings may name and that a benchmark must leave alone."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and judge where asked to."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    chosen = options(__doc__).parse_args(given)
    if not os.environ.items() >= ONE_THREAD.items():
        again = [sys.executable, "-m", "benchmarks.evaluate", *given]
        return subprocess.run(again, env=os.environ | ONE_THREAD, check=False).returncode  # noqa: S603
    for name in _FOREIGN:
        os.environ.pop(name, None)
    figures = [*_kernel(), *_correlation(), *_evaluations(), *_requests()]
    return report(figures, json_path=chosen.json, check=chosen.check)


def _kernel() -> Iterator[Figure]:
    found = metrics.measure()
    size = f"{metrics.STRATEGIES:,} x {metrics.SESSIONS}"
    for floor_name, floor, ratio, goal in [
        ("pandas, one by one", found.pandas_us, found.over_pandas, metrics.MIN_OVER_PANDAS),
        ("numpy, whole matrix", found.numpy_us, found.over_numpy, metrics.MIN_OVER_NUMPY),
    ]:
        yield Figure(
            id="P10",
            name=f"six metrics of one strategy, {size}",
            value=found.kernel_us,
            unit="us CPU",
            floor_name=floor_name,
            floor=floor,
            ratio=ratio,
            bound="at least",
            goal=goal,
        )


def _correlation() -> Iterator[Figure]:
    found = correlation.measure()
    size = f"{correlation.STRATEGIES:,} x {correlation.SESSIONS}"
    yield Figure(
        id="P12",
        name=f"correlation screen of a selection of {correlation.SLOTS}, {size}",
        value=found.typical_ms,
        unit="ms CPU",
        floor_name="full matrix",
        floor=found.full_matrix_ms,
        ratio=found.typical_gain,
        bound="at least",
        goal=correlation.MIN_TYPICAL,
    )
    yield Figure(
        id="P12",
        name=f"correlation screen that visits all candidates, {size}",
        value=found.worst_ms,
        unit="ms CPU",
        floor_name="standardize all rows",
        floor=found.standardize_ms,
        ratio=found.worst_ratio,
        goal=correlation.MAX_WORST,
    )


def _evaluations() -> Iterator[Figure]:
    """Measure in a process of its own, on an empty database of its own."""
    with tempfile.TemporaryDirectory(prefix="qw-") as folder:
        yield from (Figure(**facts) for facts in json.loads(run_inside("benchmarks.evaluate_run", data=Path(folder))))


def _requests() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="qw-") as folder:
        prepared = json.loads(run_inside("benchmarks.request_world", data=Path(folder)))
        yield from time_requests(data=Path(folder), environment=environment(Path(folder)), **prepared)


def run_inside(module: str, *, data: Path) -> str:
    """Run a module inside Django on the database in ``data``; return the last line that it prints."""
    command = [sys.executable, "-m", "benchmarks.ready", module]
    done = subprocess.run(  # noqa: S603
        command, cwd=ROOT, env=os.environ | environment(data), check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.splitlines()[-1]


def environment(data: Path) -> Mapping[str, str]:
    """Return the variables of a server that lives in ``data`` and talks plain HTTP."""
    return {
        "DJANGO_SETTINGS_MODULE": "qmtl_worlds.settings",
        "QW_DATA_DIR": str(data),
        "QW_HTTPS": "0",
        "QW_NO_BOOTSTRAP": "1",
        **ONE_THREAD,
    }


if __name__ == "__main__":
    sys.exit(main())
