"""P14, P15, P18: how decisions and returns are stored and taken in, beside the plain ways, on both databases.

Prints a Markdown table for each database; ``--json PATH`` writes the figures, ``--check`` exits with 1 on a miss.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qmtl_worlds.embedded import postgres

DATABASES: Final = ("sqlite", "postgres")
Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Goal:
    """``name`` costs at most ``share`` of ``reference``, or at most ``limit`` where there is no reference."""

    id: str
    what: str
    name: str
    unit: str
    reference: str = ""
    share: float = 0.0
    limit: float = 0.0

    def ratio(self, figures: Figures) -> float:
        """Return how many times the reference costs what ours does."""
        return figures[self.reference] / figures[self.name]

    def holds(self, figures: Figures) -> bool:
        """Tell whether the goal is met."""
        if self.reference:
            return figures[self.name] <= self.share * figures[self.reference]
        return not self.limit or figures[self.name] <= self.limit

    def line(self, figures: Figures) -> str:
        """Return the row of the table."""
        ours = f"{figures[self.name]:.3g} {self.unit}"
        if not self.reference:
            goal = f"<= {self.limit:g} {self.unit}" if self.limit else ""
            return f"| {self.id} | {self.what} | {ours} | | {goal} | {self._word(figures)} |"
        theirs = f"{figures[self.reference]:.3g} {self.unit} ({self.ratio(figures):.3g}x)"
        goal = f"1/{1 / self.share:.0f}" if self.share < 1 else f"{self.share:g}x"
        return f"| {self.id} | {self.what} | {ours} | {theirs} | <= {goal} | {self._word(figures)} |"

    def _word(self, figures: Figures) -> str:
        if not (self.reference or self.limit):
            return ""
        return "ok" if self.holds(figures) else "MISSED"


GOALS: Final = (
    Goal("P14", "store 10,000 decisions, rows by bulk_create", "chunks", "ms", "rows", 1 / 15),
    Goal("P14", "a decision", "bytes_a_decision", "B", limit=64),
    Goal("P14", "explain one, read one row", "explain", "ms", "row", 3),
    Goal("P15", "append a bar of 10,000, rows by bulk_create", "append_block", "ms", "append_rows", 1 / 20),
    Goal("P15", "read the matrix, a point", "load_blocks_ns_a_point", "ns", "narrow_ns_a_point", 1 / 20),
    Goal("P15", "a point in blocks", "bytes_a_point", "B", limit=9),
    Goal("P18", "JSON rows, DRF many=True, CPU a row", "ingest_rows_us", "us", "ingest_drf_us", 1 / 20),
    Goal("P18", "NDJSON rows, CPU a row", "ingest_lines_us", "us", "ingest_drf_us", 1 / 20),
    Goal("P18", "JSON columns, CPU a row", "ingest_columns_us", "us", "ingest_drf_us", 1 / 20),
    Goal("P18", "raw float64, CPU a row", "ingest_raw_us", "us", "ingest_drf_us", 1 / 20),
    Goal("-", "load 10,000 x 252 from blocks", "load_blocks", "ms"),
    Goal("-", "load 1,000 x 252 as they were backfilled", "load_backfilled", "ms"),
    Goal("-", "one backfill call of 252 bars", "backfill_call", "ms"),
    Goal("-", "merge 1,000 x 252 backfilled bars into blocks", "merge", "ms"),
    Goal("-", "seal a bar of 10,000 rows", "seal", "ms"),
    Goal("-", "a point in narrow rows", "narrow_bytes_a_point", "B"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and judge where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 where a goal is missed")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--database", choices=DATABASES, action="append", help="measure this one alone")
    options = parser.parse_args(arguments)
    found: dict[str, Figures] = {}
    for database in options.database or DATABASES:
        found[database] = measure(database)
        print(_table(database, found[database]))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    missed = [goal for figures in found.values() for goal in GOALS if not goal.holds(figures)]
    return int(options.check and bool(missed))


def measure(database: str) -> Figures:
    """Run the measurements in a process of their own, on a new database."""
    with tempfile.TemporaryDirectory(prefix="qmtl-worlds-benchmark-") as folder:
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "qmtl_worlds.settings",
            "OPENBLAS_NUM_THREADS": "1",
            "QW_DATA_DIR": folder,
            "QW_NO_BOOTSTRAP": "1",
            "QW_STATEMENT_TIMEOUT_MS": "120000",
            "QW_IDLE_IN_TRANSACTION_TIMEOUT_MS": "120000",
        }
        environment.pop("DATABASE_URL", None)
        server = postgres.start() if database == "postgres" else None
        try:
            if server is not None:
                environment["DATABASE_URL"] = server.url
            command = [sys.executable, "-m", "benchmarks.ready", "benchmarks.storage_run"]
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)  # noqa: S603
        finally:
            if server is not None:
                server.stop()
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _table(database: str, figures: Figures) -> str:
    machine = f"{database}, Python {platform.python_version()} on {platform.machine()}, load {os.getloadavg()[0]:.1f}"
    lines = [goal.line(figures) for goal in GOALS]
    head = ["| id | what | ours | reference | goal | |", "|---|---|---|---|---|---|"]
    return "\n".join([machine, "", *head, *lines, ""])


if __name__ == "__main__":
    sys.exit(main())
