from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qmtl_worlds.failpoints import every_point
from torture.observer import Observer
from torture.scenes import suits
from torture.stage import Stage
from torture.tally import Tally


def stage_of(folder: Path, *points: str) -> Stage:
    nobody: Any = SimpleNamespace()
    return Stage(nobody, Tally(), folder, ("http://127.0.0.1:1",), {}, 1.0, points, nobody)


def dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - no secret


@pytest.mark.parametrize("point", ["approve.before_commit", "advance.before_audit/held", "advance.after_commit/queued"])
def test_full_world_is_not_asked_for_points_of_increases(point: str) -> None:
    assert suits(point, full=False)
    assert not suits(point, full=True)


def test_every_point_suits_a_world_that_is_not_full() -> None:
    assert all(suits(point, full=False) for point in every_point())
    assert suits("advance.after_commit/switched", full=True)


def test_points_that_were_hit_are_tried_after_those_that_were_not(tmp_path: Path) -> None:
    stage = stage_of(tmp_path, "a.b", "c.d")
    (tmp_path / "failpoints.log").write_text("1.0 7 kill a.b\n2.0 7 delay c.d\n", encoding="utf-8")

    chosen = [stage.next_point(dice(1), fits=lambda _point: True) for _ in range(2)]

    assert chosen == ["c.d", "c.d"]


def test_points_that_do_not_fit_are_left_for_later(tmp_path: Path) -> None:
    stage = stage_of(tmp_path, "a.b", "c.d")

    assert {stage.next_point(dice(seed), fits="a.b".__eq__) for seed in range(5)} == {"a.b"}


def polled(position: list[int], *, process: int = 7) -> dict[str, Any]:
    """One line of a Runner's account."""
    return {
        "world": "w1",
        "key": "good|long",
        "process": process,
        "asked": 1.0,
        "at": 1.0,
        "failed": False,
        "lease_ms": 0.0,
        "deadline": 0.0,
        "open": False,
        "answer": {"position": position, "generation": 1},
        "told": None,
    }


@pytest.mark.parametrize(("process", "found"), [(7, ["a gate went back to an older answer"]), (8, [])])
def test_gate_that_goes_back_to_an_older_answer_is_a_violation_unless_it_is_another_gate(
    tmp_path: Path, process: int, found: list[str]
) -> None:
    words = {"server": "http://127.0.0.1:1", "token": "t", "worlds": [], "folder": str(tmp_path)}
    observer = Observer({**words, "lease_ms": 1000, "slack_seconds": 0.1})

    for line in (polled([1, 5, 0]), polled([1, 4, 9], process=process)):
        observer._take_poll("runner-0", line)  # noqa: SLF001 - as it reads it from a file

    assert [one.what for one in observer.violations] == found
