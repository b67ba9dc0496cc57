from __future__ import annotations

import pytest

from qmtl_worlds.contracts.errors import ExpressionInvalidError
from qmtl_worlds.policy.expression import parse_condition, parse_expression, parse_number
from qmtl_worlds.policy.expression_checks import TextFault, condition_faults, number_faults
from qmtl_worlds.policy.nodes import And, Arithmetic, Call, Comparison, Metric, Negate, Node, Not, Number, Or
from qmtl_worlds.policy.printing import print_expression

A, B, C = Metric("a"), Metric("b"), Metric("c")


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("1", Number(1.0)),
        (".5", Number(0.5)),
        ("1e-3", Number(0.001)),
        ("a", A),
        ("reported.alpha", Metric("reported.alpha")),
        ("-a", Negate(A)),
        ("a + b - c", Arithmetic("-", Arithmetic("+", A, B), C)),
        ("a - (b - c)", Arithmetic("-", A, Arithmetic("-", B, C))),
        ("a + b * c", Arithmetic("+", A, Arithmetic("*", B, C))),
        ("-a * b", Arithmetic("*", Negate(A), B)),
        ("a - -b", Arithmetic("-", A, Negate(B))),
        ("min(a, b, c)", Call("min", (A, B, C))),
        ("clip(a, -1, 1)", Call("clip", (A, Negate(Number(1.0)), Number(1.0)))),
        ("a > b", Comparison((">",), (A, B))),
        ("0 < a <= 1", Comparison(("<", "<="), (Number(0.0), A, Number(1.0)))),
        ("not a > b", Not(Comparison((">",), (A, B)))),
        (
            "a>b or a<b and not a==b",
            Or(
                (
                    Comparison((">",), (A, B)),
                    And((Comparison(("<",), (A, B)), Not(Comparison(("==",), (A, B))))),
                )
            ),
        ),
        (
            "(a > b or b > c) and a != c",
            And(
                (
                    Or((Comparison((">",), (A, B)), Comparison((">",), (B, C)))),
                    Comparison(("!=",), (A, C)),
                )
            ),
        ),
    ],
)
def test_expression_is_read_by_precedence(text: str, node: Node) -> None:
    assert parse_expression(text) == node


@pytest.mark.parametrize(
    ("text", "column", "kind"),
    [
        ("", 1, "syntax"),
        ("a +", 4, "syntax"),
        ("a b", 3, "syntax"),
        ("(a", 3, "syntax"),
        ("a)", 2, "syntax"),
        ("+a", 1, "syntax"),
        ("a ** b", 4, "syntax"),
        ("min", 1, "syntax"),
        ("and", 1, "syntax"),
        ("a = b", 3, "unexpected-character"),
        ("a & b", 3, "unexpected-character"),
        ("a ! b", 3, "unexpected-character"),
        ("\uff53harpe", 1, "unexpected-character"),
        ("a + \u0661", 5, "unexpected-character"),
        ("a['b']", 2, "unexpected-character"),
        ("1abc", 1, "unexpected-character"),
        ("1.2.3", 1, "unexpected-character"),
        ("25 %", 4, "unexpected-character"),
        ("1e400", 1, "number-not-finite"),
        ("pow(a, 2)", 1, "unknown-function"),
        ("abs(a, b)", 1, "wrong-arity"),
        ("min(a)", 1, "wrong-arity"),
        ("clip(a, 1)", 1, "wrong-arity"),
        ("a + (b > c)", 5, "wrong-type"),
        ("(a > b) > c", 1, "wrong-type"),
        ("not a", 5, "wrong-type"),
        ("a > 1 and b", 11, "wrong-type"),
        ("min(a, b > c)", 8, "wrong-type"),
        ("-(a > b)", 2, "wrong-type"),
        ("(" * 17 + "a" + ")" * 17, 17, "expression-too-deep"),
        ("-" * 17 + "a", 17, "expression-too-deep"),
        ("a" + "+a" * 32, 64, "expression-too-large"),
        ("a" * 513, 1, "expression-too-long"),
    ],
)
def test_fault_of_an_expression_has_its_column_and_code(text: str, column: int, kind: str) -> None:
    with pytest.raises(ExpressionInvalidError) as caught:
        parse_expression(text)

    assert (caught.value.column, caught.value.kind) == (column, kind)


@pytest.mark.parametrize("text", ["(" * 16 + "a" + ")" * 16, "-" * 16 + "a", "a" + "+a" * 31, "a" * 512])
def test_expression_at_its_limits_is_read(text: str) -> None:
    assert isinstance(parse_expression(text), Metric | Negate | Arithmetic)


def test_gate_must_be_a_condition_and_score_a_number() -> None:
    with pytest.raises(ExpressionInvalidError, match="expected a condition"):
        parse_condition("a + b")
    with pytest.raises(ExpressionInvalidError, match="expected a number"):
        parse_number("a > b")


def test_all_unknown_names_of_an_expression_are_found_at_their_columns() -> None:
    faults = condition_faults("sharp_mid > 1 and winrat_mid > reported.x")

    assert [(fault.column, fault.code, fault.word) for fault in faults] == [
        (1, "unknown-metric", "sharp_mid"),
        (19, "unknown-metric", "winrat_mid"),
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("sharpe_mid / 0", TextFault(12, "division-by-zero", "division by zero is never a number")),
        ("clip(sharpe_mid, 2, -2)", TextFault(1, "contradiction", "the low bound of clip is above the high one")),
        ("sharpe_9999d", TextFault(1, "unknown-metric", "'sharpe_9999d' is no metric", "sharpe_9999d")),
    ],
)
def test_value_that_can_never_be_is_a_fault(text: str, fault: TextFault) -> None:
    assert number_faults(text) == (fault,)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("((a))+((b*c))", "a + b * c"),
        ("(a+b)*c", "(a + b) * c"),
        ("a-(b-c)", "a - (b - c)"),
        ("a/(b*c)", "a / (b * c)"),
        ("-(a+b)", "-(a + b)"),
        ("- (-a)", "--a"),
        ("0.60", "0.6"),
        ("100.0", "100"),
        ("1e20", "1e+20"),
        ("not (a>b and b>c)", "not (a > b and b > c)"),
        ("(a>b and b>c) and c>a", "(a > b and b > c) and c > a"),
        ("a>b or (b>c and c>a)", "a > b or b > c and c > a"),
        ("clip(a,0,1)<=.5", "clip(a, 0, 1) <= 0.5"),
    ],
)
def test_expression_prints_with_the_fewest_parentheses(text: str, printed: str) -> None:
    assert print_expression(parse_expression(text)) == printed
