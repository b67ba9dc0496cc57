from __future__ import annotations

from qmtl_worlds.policy.compiler import compile_policy
from qmtl_worlds.policy.diff import Change, diff
from tests.unit.policy.samples import MINIMAL, sample, with_gates


def changes(before: str, after: str) -> tuple[Change, ...]:
    return diff(compile_policy(before), compile_policy(after))


def test_equal_policies_have_no_difference() -> None:
    assert changes(sample(), sample()) == ()


def test_blanks_and_parentheses_and_written_defaults_are_no_difference() -> None:
    other = MINIMAL.replace("sharpe_mid >= 0.6", "(sharpe_mid)>=0.60") + "apply: {mode: approval}\n"

    assert changes(MINIMAL, other) == ()


def test_value_that_differs_is_a_change_with_both_values() -> None:
    assert changes(MINIMAL, MINIMAL.replace("total: 2", "total: 3")) == (
        Change("selection.topk.total", 2, 3, "changed"),
        Change("selection.topk.by_side.long", 2, 3, "changed"),
    )


def test_section_that_comes_or_goes_is_added_or_removed() -> None:
    longer = MINIMAL + "schedule: {every: 1h}\n"

    assert changes(MINIMAL, longer) == (Change("schedule", None, {"every": "1h", "offset": "0s"}, "added"),)
    assert changes(longer, MINIMAL) == (Change("schedule", {"every": "1h", "offset": "0s"}, None, "removed"),)


def test_condition_that_moves_is_no_difference_and_one_that_tightens_is_a_change() -> None:
    before = with_gates("{and: [sharpe_mid >= 0.6, sample_days >= 30, trades_60d > 9]}")
    after = with_gates("{and: [sample_days >= 60, sharpe_mid >= 0.6, max_dd_mid < 0.2]}")

    assert changes(before, after) == (
        Change("selection.gates.and[0]", "sample_days >= 30", "sample_days >= 60", "changed"),
        Change("selection.gates.and[2]", None, "max_dd_mid < 0.2", "added"),
        Change("selection.gates.and[2]", "trades_60d > 9", None, "removed"),
    )


def test_condition_within_a_nested_list_is_named_by_its_path() -> None:
    before = with_gates("{and: [sharpe_mid > 1, {or: [skew_mid > 0, kurt_mid < 5]}]}")

    assert changes(before, before.replace("< 5", "< 6")) == (
        Change("selection.gates.and[1].or[1]", "kurt_mid < 5", "kurt_mid < 6", "changed"),
    )
