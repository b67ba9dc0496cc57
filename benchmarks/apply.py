"""P17: what an apply costs without its drain: commits, calls to Redis and milliseconds, for 8, 200 and 1,000 entries.

An empty world is filled by one run; a change of half of the entries takes two, one that reduces and one that increases,
and each of them is an apply that pays for the whole request.
PostgreSQL commits durably; Valkey is our own. Prints a Markdown table; ``--json PATH``
writes the figures, ``--check`` exits with 1 on a miss.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.harness import ONE_THREAD, Figure, options, report
from qmtl_worlds.embedded import postgres, valkey

ROOT: Final = Path(__file__).resolve().parent.parent
LIMITS: Final = {"commits": 7.0, "calls": 6.0}
WORDS: Final = {"commits": "commits", "calls": "round trips to Redis"}
ANSWER_MS: Final = 300.0
APPLY_MS: Final = 100.0
MOST_GROWTH: Final = 4.0
SMALL, ASKED, LARGE = 8, 200, 1_000
FILL, REDUCTION, INCREASE = "fill", "reduction of a change", "increase of a change"
Found = dict[str, dict[str, list[dict[str, float]]]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and judge where asked to."""
    chosen = options(__doc__).parse_args(arguments)
    return report(list(figures(measure())), json_path=chosen.json, check=chosen.check)


def figures(found: Found) -> Iterator[Figure]:
    """Yield the figures of all sizes; counts are those of the costliest apply, times are medians."""
    for kind in (FILL, REDUCTION, INCREASE):
        for count, limit in LIMITS.items():
            most = max(apply[count] for applies in found.values() for apply in applies[kind])
            yield _beside(f"{WORDS[count]} of a {kind}, of any size, without approval", most, "", limit)
        for size in (SMALL, ASKED, LARGE):
            goal = 1.0 if size == ASKED else None
            time = _median(found, size, kind)
            yield _beside(f"{kind}, of {size} entries, without the drain", time, "ms", APPLY_MS, goal=goal)
        small, large = _median(found, SMALL, kind), _median(found, LARGE, kind)
        floor = f"of {SMALL} entries"
        yield Figure("P17", f"{kind}, of {LARGE} entries", large, "ms", floor, small, large / small, goal=MOST_GROWTH)
    answer = max(apply["answer_ms"] for applies in found[str(ASKED)].values() for apply in applies)
    yield _beside(f"request of {ASKED} entries, until it is answered in the process, slowest", answer, "ms", ANSWER_MS)


def measure() -> Found:
    """Return the facts of each apply, by how many entries it had, on servers of our own."""
    server = postgres.start(options=())
    try:
        with tempfile.TemporaryDirectory(prefix="qw-") as folder, valkey.serve(Path(folder)) as redis_url:
            environment = os.environ | {
                "DATABASE_URL": server.url,
                "REDIS_URL": redis_url,
                "DJANGO_SETTINGS_MODULE": "qmtl_worlds.settings",
                "QW_DATA_DIR": folder,
                "QW_HTTPS": "0",
                "QW_LOG_LEVEL": "ERROR",
                "QW_NO_BOOTSTRAP": "1",
                "QW_BENCHMARK_SIZES": json.dumps([SMALL, ASKED, LARGE]),
                **ONE_THREAD,
            }
            command = [sys.executable, "-m", "benchmarks.ready", "benchmarks.apply_run"]
            done = subprocess.run(  # noqa: S603
                command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
            )
    finally:
        server.stop()
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def _beside(name: str, value: float, unit: str, limit: float, *, goal: float | None = 1.0) -> Figure:
    return Figure("P17", name, value, unit, floor_name="limit", floor=limit, ratio=value / limit, goal=goal)


def _median(found: Found, size: int, kind: str) -> float:
    return statistics.median(apply["work_ms"] for apply in found[str(size)][kind])


if __name__ == "__main__":
    sys.exit(main())
