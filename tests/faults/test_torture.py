"""Storms on real processes, in a process of their own: their servers are not the tests'."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from formal.explorer import Report
from tests.architecture.source import ROOT
from tests.faults.extended import EXTENDED, longer_when_extended, only_extended
from torture.page import page
from torture.tally import READS as READS_OF
from torture.tally import Tally, added, quantile

KILLS = 500 if EXTENDED else 100
KILLS_ON_SQLITE = 10
READS = 50_000 if EXTENDED else 10_000
RECOVERY_SECONDS = 5.0
LONGEST_SECONDS = 30.0
"""After a death while everything else fails too, until the run has ended."""
OWN_LOAD = 3.0
"""What a storm alone makes of each processor; on a machine that others load as well, seconds last longer."""
SHORT_MUTANTS = ("B2", "B9")
LONG_MUTANTS = ("B1", "B3", "B4", "B5", "B6", "B7", "B8", "B10", "B11", "B12", "B13", "B14")


def storm(report: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    command = [sys.executable, "-m", "torture", "--report", str(report), *words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("QW_")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    told = report.read_text(encoding="utf-8") if report.exists() else "{}"
    return done, json.loads(told)


def reads_of(report: dict[str, Any]) -> int:
    return sum(report["counts"][name] for name in READS_OF)


def recovered_in_time(report: dict[str, Any], *, overload: float) -> bool:
    """Tell whether runs went on after deaths; a storm notes them as calm or as stormy, and never notes none."""
    calm, stormy = report["recoveries"], report["stormy_recoveries"]
    in_time = quantile(calm, 0.99) <= RECOVERY_SECONDS * overload and quantile(stormy, 1) <= LONGEST_SECONDS * overload
    return bool(stormy if EXTENDED else calm) and in_time


@longer_when_extended
@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.postgres
@pytest.mark.timeout(1200 if EXTENDED else 300)
def test_nothing_is_opened_lost_or_doubled_while_processes_die_on_postgresql(tmp_path: Path) -> None:
    weather = ("--weather",) if EXTENDED else ()
    words = ("--minutes", "0.2", "--kills", str(KILLS), "--reads", str(READS), "--worlds", "10", "--seed", "suite")

    done, report = storm(tmp_path / "report", *words, *weather)
    overload = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1) / OWN_LOAD)

    assert done.returncode == 0, done.stdout + done.stderr
    assert report["problems"] == []
    assert sum(report["points"].values()) >= KILLS
    assert reads_of(report) >= READS
    assert recovered_in_time(report, overload=overload)


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(300)
def test_nothing_is_opened_lost_or_doubled_while_processes_die_on_sqlite(tmp_path: Path) -> None:
    words = ("--minutes", "0.1", "--kills", str(KILLS_ON_SQLITE), "--worlds", "4", "--seed", "suite")

    done, report = storm(tmp_path / "report", *words, "--database", "sqlite")

    assert done.returncode == 0, done.stdout + done.stderr
    assert report["problems"] == []
    assert sum(report["points"].values()) >= KILLS_ON_SQLITE
    assert len(report["points"]) >= 5


def mutants_are_noticed(report: Path, names: tuple[str, ...]) -> None:
    done, told = storm(report, "--minutes", "0", "--seed", "mutants", "--mutants", ",".join(names))

    assert set(told["mutants"]) == set(names), done.stdout + done.stderr
    assert all(told["mutants"].values()), done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.postgres
@pytest.mark.timeout(300)
def test_observer_notices_what_is_done_wrong_by_real_processes(tmp_path: Path) -> None:
    mutants_are_noticed(tmp_path / "report", SHORT_MUTANTS)


@only_extended
@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.postgres
@pytest.mark.timeout(1800)
def test_observer_notices_every_other_mistake(tmp_path: Path) -> None:
    mutants_are_noticed(tmp_path / "report", LONG_MUTANTS)


def test_figures_of_several_storms_add_up_to_one_page() -> None:
    first = Tally(seeds=["a"], recoveries=[1.0])
    first.count("applies", 3)
    first.killed_at("request.before_commit")
    first.count("races: two approvals", 2)
    first.mutants["B2"] = "a fenced process moved a run (I6)"
    second = Tally(seeds=["b"], recoveries=[3.0])
    second.count("applies", 4)
    second.count("races: approve and abort")
    second.problem("lost", "an acknowledged request is gone")
    reports = [one.to_json() | {"database": "sqlite", "seconds": 60.0} for one in (first, second)]

    total, text = added(reports), page(reports, [Report(7, 9, complete=True), Report(3, 4, complete=True)])

    assert (total.counts["applies"], total.seeds, total.recoveries) == (7, ["a", "b"], [1.0, 3.0])
    assert "| applies | 7 () |" in text
    assert "10 states and 13 transitions of the real table, 2 of 2 small worlds whole: 0 errors." in text
    assert "| requests lost | 1 |" in text
    assert "| two people acting at one moment | 3 |" in text
    assert "| B2 | a step does not check its epoch | a fenced process moved a run (I6) |" in text
