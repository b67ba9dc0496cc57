from __future__ import annotations

from pathlib import Path

from qmtl_worlds.lifecycle.apply import transition_table

PAGE = Path(__file__).resolve().parents[3] / "docs" / "explanation" / "apply.md"


def test_page_about_the_apply_ends_with_the_table_that_runs() -> None:
    assert PAGE.read_text(encoding="utf-8").endswith(f"\n{transition_table()}")
