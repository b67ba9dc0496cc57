from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from qmtl_worlds.contracts.errors import ExpressionInvalidError, PolicyInvalidError
from qmtl_worlds.policy.compiler import CompiledPolicy, compile_mapping, compile_policy
from qmtl_worlds.policy.describe import describe
from qmtl_worlds.policy.diff import diff
from qmtl_worlds.policy.expression import parse_expression
from qmtl_worlds.policy.lint import lint
from qmtl_worlds.policy.nodes import (
    ARITHMETIC_OPERATORS,
    COMPARISON_OPERATORS,
    And,
    Arithmetic,
    BooleanExpr,
    Call,
    Comparison,
    Expr,
    Metric,
    Negate,
    Node,
    Not,
    Number,
    Or,
)
from qmtl_worlds.policy.printing import print_expression
from qmtl_worlds.policy.units import format_duration, parse_duration
from tests.unit.policy.samples import sample

pytestmark = pytest.mark.slow

NAMES = ["sharpe_mid", "max_dd_120d", "sample_days", "reported.alpha", "winrate_long"]

numbers = st.recursive(
    st.builds(Number, st.floats(min_value=0, max_value=1e300, allow_subnormal=False))
    | st.builds(Metric, st.sampled_from(NAMES)),
    lambda inner: (
        st.builds(Negate, inner)
        | st.builds(Arithmetic, st.sampled_from(list(ARITHMETIC_OPERATORS.values())), inner, inner)
        | st.builds(Call, st.sampled_from(["min", "max"]), st.tuples(inner, inner))
        | st.builds(lambda value: Call("abs", (value,)), inner)
    ),
    max_leaves=6,
)


def comparison(operands: list[Expr], operator: str) -> Comparison:
    operators = (COMPARISON_OPERATORS[operator],) * (len(operands) - 1)
    return Comparison(operators, tuple(operands))


conditions = st.recursive(
    st.builds(comparison, st.lists(numbers, min_size=2, max_size=3), st.sampled_from(list(COMPARISON_OPERATORS))),
    lambda inner: (
        st.builds(Not, inner) | st.builds(And, st.tuples(inner, inner)) | st.builds(Or, st.tuples(inner, inner, inner))
    ),
    max_leaves=3,
)


@given(numbers | conditions)
def test_printed_expression_is_read_as_the_same_expression(node: Expr | BooleanExpr) -> None:
    text = print_expression(node)

    again = read_within_limits(text)

    assert again == node
    assert print_expression(again) == text


def read_within_limits(text: str) -> Node:
    try:
        return parse_expression(text)
    except ExpressionInvalidError as error:
        assume(error.kind not in {"expression-too-long", "expression-too-deep", "expression-too-large"})
        raise


@given(st.text(alphabet="ab10.()+-*/<>=!, \n\tandornotminclip", max_size=60) | st.text(max_size=30))
def test_any_text_is_an_expression_or_an_invalid_one(text: str) -> None:
    with contextlib.suppress(ExpressionInvalidError):
        node = parse_expression(text)

        assert parse_expression(print_expression(node)) == node


@given(
    st.text(max_size=200) | st.text(alphabet="ab:-[]{}&*!|>'\"%#?,.\\ \n0x1e", max_size=120) | st.binary(max_size=200)
)
@example("a: !!python/object:os.system x")
@example("%TAG ! tag:x,2000:\n---\n!a b")
@example('"\\x"')
def test_any_junk_is_an_invalid_policy_and_nothing_else(text: str | bytes) -> None:
    with contextlib.suppress(PolicyInvalidError):
        compile_policy(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["world", "version", "selection", "data_currency", "metrics", "tests"]), json_values
    )
)
def test_any_mapping_is_an_invalid_policy_and_nothing_else(value: dict[str, object]) -> None:
    with contextlib.suppress(PolicyInvalidError):
        compile_mapping(value)


@given(st.integers(min_value=0, max_value=3650 * 86_400))
def test_printed_length_of_time_is_read_as_the_same_length(seconds: int) -> None:
    length = timedelta(seconds=seconds)

    assert parse_duration(format_duration(length)) == length


@st.composite
def mutations(draw: st.DrawFn) -> str:
    text = sample(draw(st.sampled_from(["crypto_mom_1h", "us_equity_rules"])))
    lines = text.splitlines()
    for _ in range(draw(st.integers(min_value=0, max_value=3))):
        index = draw(st.integers(min_value=0, max_value=len(lines) - 1))
        lines[index : index + 1] = draw(st.sampled_from([[], [lines[index]] * 2, [lines[index].replace("0", "1")]]))
    return "\n".join(lines)


@given(mutations())
@settings(max_examples=60)
def test_policy_is_invalid_or_a_fixed_point_of_its_canonical_form(text: str) -> None:
    try:
        policy = compile_policy(text)
    except PolicyInvalidError:
        return

    again = compile_policy(policy.canonical)

    assert_same(again, policy)
    assert all(warning.line >= 1 for warning in lint(policy, sector_count=1))
    assert describe(policy) == describe(again)


def assert_same(one: CompiledPolicy, other: CompiledPolicy) -> None:
    assert (one.checksum, one.selection_checksum, one.canonical) == (
        other.checksum,
        other.selection_checksum,
        other.canonical,
    )
    assert diff(one, other) == ()
