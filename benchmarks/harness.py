"""What the scripts of this folder share: rounds in turns, medians, one table, one JSON, one verdict."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""What a process needs in its environment before numpy is imported, so that BLAS does not take the other core."""

Call = Callable[[], object]

_LARGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure beside its floor or limit.

    ``value`` and ``floor`` have the unit ``unit``; ``ratio`` is what ``goal`` bounds from above (``at most``) or from
    below (``at least``), None where the figure has no goal.
    """

    id: str
    name: str
    value: float
    unit: str
    floor_name: str = ""
    floor: float | None = None
    ratio: float | None = None
    bound: Literal["at most", "at least"] = "at most"
    goal: float | None = None

    def holds(self) -> bool:
        """Tell whether the goal is met; a figure without one always holds."""
        if self.goal is None or self.ratio is None:
            return True
        return self.ratio <= self.goal if self.bound == "at most" else self.ratio >= self.goal


@dataclass(frozen=True, slots=True)
class Timing:
    """What one call took in each round: CPU and wall-clock seconds."""

    cpu: tuple[float, ...]
    wall: tuple[float, ...]

    @property
    def cpu_ms(self) -> float:
        """Return the median of CPU milliseconds."""
        return 1000 * statistics.median(self.cpu)

    @property
    def wall_ms(self) -> float:
        """Return the median of milliseconds on the clock."""
        return 1000 * statistics.median(self.wall)

    def cpu_over(self, other: Timing) -> float:
        """Return how many times the CPU time of ``other`` this took: the median over rounds, each beside its own."""
        return statistics.median(mine / theirs for mine, theirs in zip(self.cpu, other.cpu, strict=True))


def in_turns(calls: Sequence[Call], *, rounds: int) -> list[Timing]:
    """Time the calls in turns, so that all see the same machine; one round more, not counted, warms up."""
    taken = [[_timed(call) for call in calls] for _ in range(rounds + 1)][1:]
    return [Timing(*zip(*column, strict=True)) for column in zip(*taken, strict=True)]


def report(figures: Sequence[Figure], *, json_path: Path | None, check: bool) -> int:
    """Print the table, write the JSON, and return the exit code: 1 where a goal is missed under ``check``."""
    print(table(figures))
    if json_path:
        document = {"machine": machine(), "figures": [asdict(figure) for figure in figures]}
        json_path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    missed = [figure for figure in figures if not figure.holds()]
    for figure in missed:
        print(f"MISSED: {figure.id} {figure.name}")
    return int(check and bool(missed))


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as Markdown, under a line about the machine."""
    rows = [
        f"| {figure.id} | {figure.name} | {_amount(figure.value, figure.unit)} | {_floor(figure)} | {_ratio(figure)} |"
        for figure in figures
    ]
    words = ", ".join(f"{name} {value}" for name, value in machine().items())
    return "\n".join(
        [words, "", "| id | figure | measured | beside | ratio and goal |", "|---|---|---|---|---|", *rows]
    )


def machine() -> dict[str, str]:
    """Return what the figures depend on besides the code."""
    return {
        "Python": platform.python_version(),
        "numpy": np.__version__,
        "SQLite": sqlite3.sqlite_version,
        "machine": f"{platform.machine()} x {os.cpu_count()}",
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def options(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every script has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="exit with 1 where a goal is missed")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser


def _timed(call: Call) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def _amount(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}" if value < _LARGE else f"{value:,.0f} {unit}"


def _floor(figure: Figure) -> str:
    return "" if figure.floor is None else f"{figure.floor_name}: {_amount(figure.floor, figure.unit)}"


def _ratio(figure: Figure) -> str:
    if figure.ratio is None:
        return ""
    verdict = "" if figure.goal is None else f" ({figure.bound} {figure.goal:g}: {'ok' if figure.holds() else 'MISS'})"
    return f"{figure.ratio:.3g}x{verdict}"
