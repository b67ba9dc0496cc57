from __future__ import annotations

import numpy as np
import pytest

from qmtl_worlds.contracts.reasons import Reason
from qmtl_worlds.decision.codes import FAIL, OK, PASS, REASONS, UNKNOWN, code
from qmtl_worlds.decision.expressions import Operand, judge, number
from qmtl_worlds.policy.expression import parse_condition, parse_number

MISSING = code(Reason.METRIC_MISSING)
TABLE = {
    "reported.a": Operand(np.array([1.0, -2.0, 0.0, np.nan]), np.array([OK, OK, OK, MISSING])),
    "reported.b": Operand(np.array([2.0, 2.0, 2.0, 2.0]), np.array([OK, OK, OK, OK])),
    "reported.gone": Operand(np.full(4, np.nan), np.full(4, MISSING)),
}
P, F, U = int(PASS), int(FAIL), int(UNKNOWN)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("reported.a + 0.5*reported.b", [2.0, -1.0, 1.0, np.nan]),
        ("-reported.a - 1", [-2.0, 1.0, -1.0, np.nan]),
        ("max(reported.a, reported.b, 3)", [3.0, 3.0, 3.0, np.nan]),
        ("min(reported.a, 0)", [0.0, -2.0, 0.0, np.nan]),
        ("abs(reported.a)", [1.0, 2.0, 0.0, np.nan]),
        ("clip(reported.a, -1, 0.5)", [0.5, -1.0, 0.0, np.nan]),
        ("reported.b / reported.a", [2.0, -1.0, np.nan, np.nan]),
    ],
)
def test_a_number_is_computed_for_every_instance(text: str, expected: list[float]) -> None:
    result = number(parse_number(text), TABLE)

    np.testing.assert_array_equal(result.value, expected)


def test_a_number_says_why_it_is_unknown() -> None:
    divided = number(parse_number("reported.b / reported.a"), TABLE)
    overflown = number(parse_number("1e308 * 10 * reported.b"), TABLE)

    assert [REASONS[reason] for reason in divided.reason] == [
        Reason.OK,
        Reason.OK,
        Reason.DIVISION_BY_ZERO,
        Reason.METRIC_MISSING,
    ]
    assert {REASONS[reason] for reason in overflown.reason} == {Reason.NOT_FINITE}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("reported.a > 0", [P, F, F, U]),
        ("reported.a >= 0", [P, F, P, U]),
        ("reported.a < 0", [F, P, F, U]),
        ("reported.a <= 0", [F, P, P, U]),
        ("reported.a == 0", [F, F, P, U]),
        ("reported.a != 0", [P, P, F, U]),
        ("not reported.a > 0", [F, P, P, U]),
        ("0 < reported.a < reported.b", [P, F, F, U]),
        ("3 < reported.b < reported.gone", [F, F, F, F]),
        ("reported.a > 0 and reported.gone > 0", [U, F, F, U]),
        ("reported.a > 0 or reported.gone > 0", [P, U, U, U]),
        ("reported.a > 0 or reported.b > 0", [P, P, P, P]),
        ("not (reported.a > 0 and reported.gone > 0)", [U, P, P, U]),
    ],
)
def test_conditions_follow_kleene(text: str, expected: list[int]) -> None:
    result = judge(parse_condition(text), TABLE)

    assert result.verdict.tolist() == expected


def test_a_condition_over_a_nan_never_passes() -> None:
    table = {"reported.a": Operand(np.array([np.nan]), np.array([MISSING]))}

    verdicts = {
        text: int(judge(parse_condition(text), table).verdict[0])
        for text in ("reported.a > 0", "reported.a <= 0", "reported.a != 0", "reported.a == reported.a")
    }

    assert set(verdicts.values()) == {U}
