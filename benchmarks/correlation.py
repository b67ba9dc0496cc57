"""P12: the correlation screen under greedy selection, beside standardizing all rows and beside the full matrix.

The selections must be equal before anything is timed. Prints a Markdown table of CPU time; ``--json PATH`` writes the
figures, ``--check`` exits with 1 on a miss. Runs itself again with one BLAS thread where it was given more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.metrics.correlation import CorrelationScreen
from qmtl_worlds.metrics.panel import ReturnPanel

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

STRATEGIES: Final = 10_000
SESSIONS: Final = 252
SLOTS: Final = 8
CLUSTERS: Final = 12
CAP: Final = 0.8
ROUNDS: Final = 5
MAX_WORST: Final = 3.0
MIN_TYPICAL: Final = 1000.0
ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Figures:
    """Median CPU milliseconds; worst visits every candidate and fills no slot beyond the number of clusters."""

    typical_ms: float
    full_matrix_ms: float
    typical_gain: float
    worst_ms: float
    standardize_ms: float
    worst_ratio: float

    def holds(self) -> bool:
        """Tell whether P12 is met."""
        return self.worst_ratio <= MAX_WORST and self.typical_gain >= MIN_TYPICAL


def clustered(noise: float) -> ReturnPanel:
    """Make strategies that follow one of a few drivers, the closer the less ``noise``."""
    rng = np.random.default_rng(12)
    drivers = rng.standard_normal((CLUSTERS, SESSIONS))
    own = rng.standard_normal((STRATEGIES, SESSIONS))
    closes = np.arange(1, SESSIONS + 1, dtype=np.int64) * 86_400
    return ReturnPanel(closes, 0.01 * (drivers[rng.integers(0, CLUSTERS, STRATEGIES)] + noise * own))


def select_lazily(panel: ReturnPanel, slots: int) -> list[int]:
    """Take candidates in order, asking the screen about growing blocks of them."""
    screen = CorrelationScreen(panel, as_of=int(panel.closes[-1]), cap=CAP, window=SESSIONS)
    chosen: list[int] = []
    start, size = 0, 32
    while start < panel.count and len(chosen) < slots:
        _take_block(screen, np.arange(start, min(start + size, panel.count)), chosen, slots)
        start, size = start + size, min(2 * size, 512)
    return chosen


def _take_block(screen: CorrelationScreen, block: Rows, chosen: list[int], slots: int) -> None:
    blocked: NDArray[np.bool_] = np.logical_or.reduce(
        screen.against(block, np.array(chosen, dtype=np.int64)).exceeds, axis=1
    )
    while len(chosen) < slots and not blocked.all():
        at = int(np.argmin(blocked))
        chosen.append(int(block[at]))
        blocked[: at + 1] = True
        open_rows = np.flatnonzero(~blocked)
        blocked[open_rows] = screen.against(block[open_rows], block[at : at + 1]).exceeds[:, 0]


def select_by_matrix(panel: ReturnPanel, slots: int) -> list[int]:
    """Take candidates in order, having correlated everything with everything."""
    matrix: Floats = np.asarray(np.corrcoef(panel.returns))
    chosen: list[int] = []
    for row in range(panel.count):
        if len(chosen) == slots:
            break
        if not (matrix[row, chosen] > CAP).any():
            chosen.append(row)
    return chosen


def standardize(returns: Floats) -> Floats:
    """Scale every row to mean 0 and length 1: the least that any answer about all rows must do."""
    offsets = returns - returns.mean(axis=1, keepdims=True)
    scaled: Floats = offsets / np.sqrt((offsets * offsets).sum(axis=1, keepdims=True))
    return scaled


def measure() -> Figures:
    """Time lazy selection and its references in turns."""
    typical, worst = clustered(1.0), clustered(0.3)
    if select_lazily(typical, SLOTS) != select_by_matrix(typical, SLOTS):
        raise AssertionError("lazy and full selection must agree")
    if len(select_lazily(worst, STRATEGIES)) != CLUSTERS:
        raise AssertionError("the worst case must visit all candidates and take one of each cluster")
    calls: list[tuple[Callable[[], object], int]] = [
        (lambda: select_lazily(typical, SLOTS), 20),
        (lambda: select_by_matrix(typical, SLOTS), 1),
        (lambda: select_lazily(worst, STRATEGIES), 1),
        (lambda: standardize(worst.returns), 1),
    ]
    rounds = [[_milliseconds(call, repeats) for call, repeats in calls] for _ in range(ROUNDS)]
    lazy, full, all_visited, scaled = (statistics.median(column) for column in zip(*rounds, strict=True))
    return Figures(lazy, full, full / lazy, all_visited, scaled, all_visited / scaled)


def _milliseconds(call: Callable[[], object], repeats: int) -> float:
    started = time.process_time_ns()
    for _ in range(repeats):
        call()
    return (time.process_time_ns() - started) / 1e6 / repeats


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and judge where asked to."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 where the goal is missed")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(given)
    if not os.environ.items() >= ONE_THREAD.items():
        again = [sys.executable, "-m", "benchmarks.correlation", *given]
        return subprocess.run(again, env=os.environ | ONE_THREAD, check=False).returncode  # noqa: S603
    figures = measure()
    print(_table(figures))
    if options.json:
        options.json.write_text(json.dumps(asdict(figures), indent=2) + "\n", encoding="utf-8")
    return int(options.check and not figures.holds())


def _table(figures: Figures) -> str:
    machine = f"Python {platform.python_version()}, numpy {np.__version__} on {platform.machine()}"
    return "\n".join(
        [
            f"{machine}, load {os.getloadavg()[0]:.1f}, median of {ROUNDS}, {STRATEGIES} x {SESSIONS}",
            "",
            "| P12 | CPU ms | ratio | goal |",
            "|---|---|---|---|",
            f"| lazy, {SLOTS} slots | {figures.typical_ms:.2f} | | |",
            f"| full matrix | {figures.full_matrix_ms:.0f} | {figures.typical_gain:.0f}x | >= {MIN_TYPICAL:.0f}x |",
            f"| lazy, all candidates visited | {figures.worst_ms:.1f} | | |",
            f"| standardize all rows | {figures.standardize_ms:.1f} | "
            f"{figures.worst_ratio:.2f}x | <= {MAX_WORST:.0f}x |",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
