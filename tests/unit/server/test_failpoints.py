from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from qmtl_worlds.failpoints import POINTS, FailpointError, arm, armed_points, every_point, reach
from tests.architecture.source import ROOT, modules
from worlds.checks import check_failpoints

INSIDE = "from qmtl_worlds.failpoints import reach; [reach('project.before_lua') for _ in range(2)]; print('alive')"


def in_another_process(**environment: str) -> subprocess.CompletedProcess[str]:
    given = {name: value for name, value in os.environ.items() if not name.startswith("QW_FAILPOINTS")} | environment
    return subprocess.run(
        [sys.executable, "-c", INSIDE], cwd=ROOT, env=given, capture_output=True, text=True, check=False
    )


def reached_in_the_product() -> dict[str, set[str]]:
    """Every literal name that the product reaches, with the literal details it gives; ``*`` for computed ones."""
    found: dict[str, set[str]] = defaultdict(set)
    for module in modules():
        if not module.in_product or module.name == "qmtl_worlds/failpoints.py":
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and (words := _words(node)):
                found[words[0]].update(words[1:])
    return found


def _words(call: ast.Call) -> list[str]:
    """The arguments of ``reach(...)`` and of ``partial(reach, ...)``."""
    arguments = call.args
    if isinstance(call.func, ast.Name) and call.func.id == "partial":
        if not (arguments and isinstance(arguments[0], ast.Name) and arguments[0].id == "reach"):
            return []
        arguments = arguments[1:]
    elif not (isinstance(call.func, ast.Name) and call.func.id == "reach"):
        return []
    return [str(one.value) if isinstance(one, ast.Constant) else "*" for one in arguments]


def test_product_reaches_exactly_the_points_of_the_registry() -> None:
    reached = reached_in_the_product()

    assert set(reached) == set(POINTS)
    computed = {point for point, details in reached.items() if "*" in details}
    assert {point: set(POINTS[point]) for point in reached if point not in computed} == {
        point: details for point, details in reached.items() if point not in computed
    }
    assert all(POINTS[point] for point in computed)


def test_point_that_is_not_armed_does_nothing() -> None:
    arm("")

    reach("project.before_lua")

    assert armed_points() == ()
    assert len(set(every_point())) == len(every_point()) > 40


@pytest.mark.parametrize(
    "spec",
    ["nowhere=kill", "project.before_lua=explode", "project.before_lua=delay", "project.before_lua=kill:x", "x"],
)
def test_spec_that_cannot_be_meant_is_refused(spec: str) -> None:
    with pytest.raises(FailpointError):
        arm(spec)

    assert armed_points() == ()


def test_delay_waits_at_the_named_time_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    arm("advance.before_commit/frozen=delay:1.5:2;advance.before_commit=delay:9:3", log=tmp_path / "log")

    for state in ("frozen", "done", "frozen"):
        reach("advance.before_commit", state)
    arm("")

    assert slept == [1.5, 9]
    told = [line.split()[2:] for line in (tmp_path / "log").read_text(encoding="utf-8").splitlines()]
    assert told == [["delay", "advance.before_commit/frozen"]] * 2


def test_armed_process_kills_itself_at_the_second_time() -> None:
    ended = in_another_process(QW_FAILPOINTS="project.before_lua=kill:2", QW_FAILPOINTS_ALLOWED="1")

    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "")


def test_points_that_nobody_allowed_stop_the_start() -> None:
    ended = in_another_process(QW_FAILPOINTS="project.before_lua=kill:2")

    assert ended.returncode == 1
    assert "QW_FAILPOINTS_ALLOWED" in ended.stderr


def test_deployment_with_armed_points_is_refused() -> None:
    calm = check_failpoints()
    arm("project.before_lua=kill")
    armed = check_failpoints()
    arm("")

    assert calm == []
    assert [message.id for message in armed] == ["worlds.E002"]
