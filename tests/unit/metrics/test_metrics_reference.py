from __future__ import annotations

import re
from pathlib import Path

import pytest

from qmtl_worlds.contracts.metric_names import METRICS, MetricRef
from qmtl_worlds.contracts.statuses import MetricStatus
from tests.unit.metrics.panels import GOLDEN, measure, panel_of

TEXT = (Path(__file__).parents[3] / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")


def rows_under(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head; backticks taken off."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def test_reference_lists_every_metric_with_its_unit_and_needs() -> None:
    documented = sorted(tuple(row[:3]) for row in rows_under("Metrics"))

    assert documented == sorted((s.name, s.unit, "min_obs" if s.needs_min_obs else "1") for s in METRICS.values())


def test_reference_lists_every_status() -> None:
    assert [row[0] for row in rows_under("Status")] == [status.word for status in MetricStatus]


@pytest.mark.parametrize(("base", "value"), rows_under("Example"))
def test_example_of_the_reference_is_what_the_kernels_give(base: str, value: str) -> None:
    column = measure(panel_of(GOLDEN), MetricRef(base, "mid"))[f"{base}_mid"]

    assert re.fullmatch(r"\d+\.\d+", value)
    assert column.value[0] == pytest.approx(float(value), abs=1e-12)
