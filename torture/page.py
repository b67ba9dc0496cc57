"""Make ``RELIABILITY.md`` from the figures of storms: ``python -m torture.page REPORTS.jsonl``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from formal.explorer import EVERY_TIME, Report, explore
from formal.patches import MEANINGS
from qmtl_worlds.failpoints import every_point
from torture.tally import Tally, added, quantile, read_reports

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "RELIABILITY.md"
_FOUND: Final = ROOT / "formal" / "README.md"
READS: Final = {
    "api_reads": "API, consistent",
    "redis_reads": "copies in Redis",
    "gate_polls": "polls of Runners' gates",
}
CLOSED: Final = ("worlds closed by kill", "worlds closed by trip")

_ABOUT_RUNS: Final = (
    "Minutes count those with mutants too, whose figures are not in here. Load is what waits for each processor at the "
    "end of a run, all else on the machine included: above 3 it is busy with other work, and seconds last longer."
)


def page(reports: Iterable[Mapping[str, Any]], explored: Sequence[Report]) -> str:
    """Return the whole page: what storms came to, and what the explorer found just now."""
    stored = list(reports)
    total = added(stored)
    parts = [
        "# Reliability",
        "Made by `manage.py worlds_torture --write-report` from the figures of real runs; not written by hand.",
        _summary(total, stored),
        "## Faults injected",
        _table(("fault", "times"), total.faults.most_common()),
        "## Crash points",
        _points(total),
        "## What the harness is worth",
        _mutants(total),
        "## The model",
        _model(explored),
        "## Track record",
        "Defects of correctness that a harness or a review has found, so far:",
        _record(),
        "## Runs",
        _ABOUT_RUNS,
        _runs(stored),
    ]
    return "\n\n".join(parts) + "\n"


def _summary(total: Tally, stored: list[Mapping[str, Any]]) -> str:
    seconds = sum(report.get("seconds", 0) for report in stored)
    rows = [
        ("runs, minutes", f"{len(stored)}, {seconds / 60:.0f}"),
        ("applies", f"{total.counts['applies']:,} ({_listed(total.ends)})"),
        ("processes killed at a named point", f"{sum(total.points.values()):,}"),
        ("other faults", f"{sum(total.faults.values()) - sum(total.points.values()):,}"),
        ("observer reads", f"{sum(total.counts[name] for name in READS):,} ({_listed(_reads(total))})"),
        ("permissions followed to their end", f"{total.counts['permissions']:,}"),
        ("violations", str(total.problems_of("violation"))),
        ("requests lost", str(total.problems_of("lost"))),
        ("effects duplicated", str(total.problems_of("duplicated"))),
        ("worlds stuck", str(total.problems_of("stuck"))),
        ("run ids used again, for the same or another request", f"{total.counts['reused ids']:,}"),
        ("two people acting at one moment", f"{sum(total.counts[name] for name in total.counts if _is_race(name)):,}"),
        ("requests again over HTTP, after the web process died", f"{total.counts['retried posts']:,}"),
        ("worlds closed by a kill or a tripped circuit", f"{sum(total.counts[name] for name in CLOSED):,}"),
        ("recovery after a death, from the end of the worker's lease", _quantiles(total.recoveries)),
        ("the same, while everything else failed too", _quantiles(total.stormy_recoveries)),
        ("kill, until committed", _quantiles(total.kill_latencies)),
    ]
    return _table(("figure", "value"), rows)


def _is_race(name: str) -> bool:
    return name.startswith("races: ")


def _points(total: Tally) -> str:
    known = every_point()
    missed = [f"`{point}`" for point in known if point not in total.points]
    told = f"{len(known) - len(missed)} of {len(known)} known points were hit by SIGKILL"
    return f"{told}; not hit: {', '.join(missed)}." if missed else f"{told}."


def _mutants(total: Tally) -> str:
    rows = [(name, MEANINGS[name], told or "**not noticed**") for name, told in sorted(total.mutants.items())]
    score = (
        f"{sum(bool(told) for told in total.mutants.values())} of {len(rows)} mutants were noticed on real processes."
    )
    return f"{score}\n\n{_table(('', 'mistake', 'noticed as'), rows)}"


def _model(explored: Sequence[Report]) -> str:
    states, moves = sum(one.states for one in explored), sum(one.transitions for one in explored)
    errors = sum(bool(one.violation) for one in explored)
    whole = sum(one.complete for one in explored)
    found = (
        f"{states:,} states and {moves:,} transitions of the real table, {whole} of {len(explored)} small worlds whole"
    )
    return f"{found}: {errors} errors. The larger worlds, spin and the simulator: formal/README.md."


def _record() -> str:
    """Return what formal/README.md keeps of it."""
    return _FOUND.read_text(encoding="utf-8").split("## What they have found\n")[1].split("\n## ")[0].strip()


def _runs(stored: list[Mapping[str, Any]]) -> str:
    rows = [
        (
            ", ".join(report["seeds"]),
            report["database"],
            f"{report['seconds'] / 60:.1f}",
            str(sum(report["points"].values())),
            str(len(report["problems"])),
            str(report.get("load", "")),
        )
        for report in stored
    ]
    return _table(("seed", "database", "minutes", "kills", "problems", "load"), rows)


def _reads(total: Tally) -> Counter[str]:
    return Counter({words: total.counts[name] for name, words in READS.items()})


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


def _quantiles(values: list[float]) -> str:
    p50, p99, most = (quantile(values, share) for share in (0.5, 0.99, 1.0))
    return f"p50 {p50:.3f} s, p99 {p99:.3f} s, max {most:.3f} s of {len(values):,}"


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(map(str, row)) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


if __name__ == "__main__":
    explored = [explore(scope) for scope in EVERY_TIME]
    PAGE.write_text(page(read_reports(Path(sys.argv[1])), explored), encoding="utf-8")
