"""The figures of a storm: they add up over several runs, and say what was not reached."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LISTS = ("recoveries", "stormy_recoveries", "kill_latencies", "seeds")
READS = ("api_reads", "redis_reads", "gate_polls")
"""What the observer reads: answers of the API, copies in Redis, what Runners held."""


@dataclass(slots=True)
class Tally:
    """What happened; threads may share it."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    recoveries: list[float] = field(default_factory=list)
    stormy_recoveries: list[float] = field(default_factory=list)
    kill_latencies: list[float] = field(default_factory=list)
    seeds: list[str] = field(default_factory=list)
    problems: list[dict[str, Any]] = field(default_factory=list)
    mutants: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, by: int = 1) -> None:
        """Count an event."""
        with self._lock:
            self.counts[what] += by

    def fault(self, kind: str) -> None:
        """Count an injected fault."""
        with self._lock:
            self.faults[kind] += 1

    def killed_at(self, point: str) -> None:
        """Count a process that died at a point."""
        with self._lock:
            self.points[point] += 1
            self.faults["kill at a failpoint"] += 1

    def ended(self, state: str) -> None:
        """Count how a run ended."""
        with self._lock:
            self.ends[state] += 1

    def recovered(self, seconds: float, *, stormy: bool) -> None:
        """Note how long a run took to its end after its last worker's lease; apart where all else failed as well."""
        with self._lock:
            (self.stormy_recoveries if stormy else self.recoveries).append(max(0.0, seconds))

    def killed_in(self, seconds: float) -> None:
        """Note how long a kill took to be committed."""
        with self._lock:
            self.kill_latencies.append(seconds)

    def problem(self, kind: str, what: str, **evidence: object) -> None:
        """Note that something did not hold: ``violation``, ``lost``, ``duplicated`` or ``stuck``."""
        with self._lock:
            shown = {name: str(value) for name, value in evidence.items()}
            self.problems.append({"kind": kind, "what": what, **shown})

    def problems_of(self, kind: str) -> int:
        """Return how many things of a kind did not hold."""
        return sum(problem["kind"] == kind for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        """Return everything, ready to be added to others."""
        with self._lock:
            return {
                "counts": dict(self.counts),
                "faults": dict(self.faults),
                "points": dict(self.points),
                "ends": dict(self.ends),
                "recoveries": [round(seconds, 4) for seconds in self.recoveries],
                "stormy_recoveries": [round(seconds, 4) for seconds in self.stormy_recoveries],
                "kill_latencies": [round(seconds, 4) for seconds in self.kill_latencies],
                "seeds": list(self.seeds),
                "problems": list(self.problems),
                "mutants": dict(self.mutants),
            }


def added(reports: Iterable[Mapping[str, Any]]) -> Tally:
    """Return the sum of stored reports."""
    total = Tally()
    for report in reports:
        for name in ("counts", "faults", "points", "ends", "mutants"):
            getattr(total, name).update(report.get(name, {}))
        for name in (*LISTS, "problems"):
            getattr(total, name).extend(report.get(name, []))
    return total


def read_reports(path: Path) -> list[dict[str, Any]]:
    """Return the reports of a file, one a line."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def quantile(values: Iterable[float], share: float) -> float:
    """Return the value that ``share`` of them do not exceed; 0 where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
