"""What expressions and gates mean, as frozen trees.

``column`` is the 1-based place in the expression's own text; it takes no part in equality.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

ArithmeticOperator = Literal["+", "-", "*", "/"]
ComparisonOperator = Literal["<", "<=", ">", ">=", "==", "!="]
Function = Literal["min", "max", "abs", "clip"]
ARITHMETIC_OPERATORS: Final[dict[str, ArithmeticOperator]] = {"+": "+", "-": "-", "*": "*", "/": "/"}
COMPARISON_OPERATORS: Final[dict[str, ComparisonOperator]] = {
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
    "==": "==",
    "!=": "!=",
}
FUNCTIONS: Final[dict[str, Function]] = {"min": "min", "max": "max", "abs": "abs", "clip": "clip"}


@dataclass(frozen=True, slots=True)
class Number:
    """A finite literal, never negative (a sign is a ``Negate``)."""

    value: float
    column: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Metric:
    """The value of a metric; ``name`` is one that ``parse_metric`` knows."""

    name: str
    column: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Negate:
    """Minus ``operand``."""

    operand: Expr
    column: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``left op right``; the column is the operator's."""

    op: ArithmeticOperator
    left: Expr
    right: Expr
    column: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of numbers: ``min`` and ``max`` of two or more, ``abs`` of one, ``clip(value, low, high)``."""

    function: Function
    arguments: tuple[Expr, ...]
    column: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Comparison:
    """``operands[0] operators[0] operands[1] ...``: true where every neighboring pair compares true."""

    operators: tuple[ComparisonOperator, ...]
    operands: tuple[Expr, ...]
    column: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of ``operand``; unknown stays unknown."""

    operand: BooleanExpr
    column: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class And:
    """All of two or more ``operands``."""

    operands: tuple[BooleanExpr, ...]
    column: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Or:
    """Any of two or more ``operands``."""

    operands: tuple[BooleanExpr, ...]
    column: int = field(default=1, compare=False)


Expr = Number | Metric | Negate | Arithmetic | Call
"""A number."""
BooleanExpr = Comparison | Not | And | Or
"""Pass, fail or unknown."""
Node = Expr | BooleanExpr


@dataclass(frozen=True, slots=True)
class Condition:
    """One leaf of the gates: its text (blanks collapsed), what it means, where it stands.

    ``path`` is like ``selection.gates.and[1]``; ``line`` is 1-based in the policy's text, 1 where there was no text.
    """

    text: str
    node: BooleanExpr
    path: str
    line: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class AllOf:
    """``and:`` passes where every child passes; one or more children."""

    children: tuple[GateNode, ...]
    path: str


@dataclass(frozen=True, slots=True)
class AnyOf:
    """``or:`` passes where some child passes; one or more children."""

    children: tuple[GateNode, ...]
    path: str


@dataclass(frozen=True, slots=True)
class NoneOf:
    """``not:`` passes where every child fails; one or more children."""

    children: tuple[GateNode, ...]
    path: str


GateNode = Condition | AllOf | AnyOf | NoneOf
