"""I22: how long a kill takes until it is committed, on PostgreSQL, while everything else hangs.

Half of the kills come over HTTP to a web process whose threads and connections are all taken by requests that wait for
a lock, half from inside a process; other transactions hold the world's row and its audit all the while. Prints a
Markdown table; ``--json PATH`` writes the figures, ``--check`` exits with 1 on a miss, ``--trials N`` makes more.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.harness import Figure, options, report
from qmtl_worlds.embedded import postgres

ROOT: Final = Path(__file__).resolve().parent.parent
TRIALS: Final = 20
LIMIT_MS: Final = 250.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and judge where asked to."""
    parser = options(__doc__)
    parser.add_argument("--trials", type=int, default=TRIALS)
    chosen = parser.parse_args(arguments)
    return report(figures_of(chosen.trials), json_path=chosen.json, check=chosen.check)


def figures_of(trials: int) -> list[Figure]:
    """Measure so many kills from each place."""
    return [
        Figure(
            id="I22",
            name=f"kill to commit {where}, {name} of {len(taken)}",
            value=value,
            unit="ms",
            floor_name="limit",
            floor=LIMIT_MS,
            ratio=value / LIMIT_MS,
            goal=1.0,
        )
        for where, taken in measure(trials).items()
        for name, value in [("median", statistics.median(taken)), ("p99", percentile(taken)), ("slowest", max(taken))]
    ]


def measure(trials: int) -> dict[str, list[float]]:
    """Return the milliseconds of each kill, by where it came from, on a database of its own."""
    server = postgres.start()
    try:
        with tempfile.TemporaryDirectory(prefix="qw-") as folder:
            environment = os.environ | {
                "DATABASE_URL": server.url,
                "DJANGO_SETTINGS_MODULE": "qmtl_worlds.settings",
                "QW_DATA_DIR": folder,
                "QW_HTTPS": "0",
                "QW_LOG_LEVEL": "ERROR",
                "QW_NO_BOOTSTRAP": "1",
                "QW_IDLE_IN_TRANSACTION_TIMEOUT_MS": "600000",
                "QW_LOCK_TIMEOUT_MS": "60000",
                "QW_STATEMENT_TIMEOUT_MS": "60000",
                "QW_BENCHMARK_TRIALS": str(trials),
            }
            environment.pop("REDIS_URL", None)
            command = [sys.executable, "-m", "benchmarks.ready", "benchmarks.kill_run"]
            done = subprocess.run(  # noqa: S603
                command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
            )
    finally:
        server.stop()
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def percentile(taken: Sequence[float]) -> float:
    """Return the 99th percentile: of fewer than a hundred the slowest."""
    return sorted(taken)[min(len(taken) - 1, -(-99 * len(taken) // 100))]


if __name__ == "__main__":
    sys.exit(main())
