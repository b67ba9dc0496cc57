from __future__ import annotations

import sys

from worlds.management.steps import Step, run_side_by_side


def step(name: str, program: str) -> Step:
    return Step(name=name, command=(sys.executable, "-c", program))


def test_steps_side_by_side_tell_each_line_behind_their_name() -> None:
    told: list[str] = []

    outcomes = run_side_by_side([step("one", "print('a'); print('b')"), step("two", "print('c')")], tell=told.append)

    assert sorted(told) == ["one | a\n", "one | b\n", "two | c\n"]
    assert told.index("one | a\n") < told.index("one | b\n")
    assert [(outcome.name, outcome.passed) for outcome in outcomes] == [("one", True), ("two", True)]


def test_step_that_fails_beside_another_is_known_by_its_code_and_its_errors_are_told() -> None:
    told: list[str] = []
    fails = "import sys; sys.stderr.write('why\\n'); sys.exit(3)"

    outcomes = run_side_by_side([step("one", fails), step("two", "")], tell=told.append)

    assert [(outcome.code, outcome.passed) for outcome in outcomes] == [(3, False), (0, True)]
    assert told == ["one | why\n"]
