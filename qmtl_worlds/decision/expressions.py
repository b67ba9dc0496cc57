"""What a policy's expressions say of whole columns, in three values.

An unknown metric makes a number unknown, and an unknown number makes a comparison unknown; ``and`` and ``or`` are those
of Kleene. A division by zero and a result that is not finite are unknown too. NaN never compares true.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.contracts.reasons import Reason
from qmtl_worlds.decision.codes import FAIL, OK, PASS, UNKNOWN, Codes, Floats, code
from qmtl_worlds.policy.nodes import (
    And,
    Arithmetic,
    BooleanExpr,
    Call,
    Comparison,
    Expr,
    Metric,
    Negate,
    Not,
    Number,
    Or,
)

_DIVIDED = code(Reason.DIVISION_BY_ZERO)
_NOT_FINITE = code(Reason.NOT_FINITE)
_ARITHMETIC: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """A number for every instance; ``reason`` is not OK, and ``value`` NaN, where it is unknown."""

    value: Floats
    reason: Codes


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """A verdict for every instance; ``reason`` says why where it is UNKNOWN, and means nothing elsewhere."""

    verdict: Codes
    reason: Codes


Table = Mapping[str, Operand]
"""The metrics of a run by name."""


def number(node: Expr, table: Table) -> Operand:
    """Compute a number; constants come as arrays without dimensions.

    Raises:
        KeyError: the table lacks a metric.
    """
    match node:
        case Number(value):
            return Operand(np.asarray(value, dtype=np.float64), np.asarray(OK))
        case Metric(name):
            return table[name]
        case Negate(operand):
            inner = number(operand, table)
            return Operand(-inner.value, inner.reason)
        case Arithmetic(op, left, right):
            return _arithmetic(op, number(left, table), number(right, table))
        case Call(function, arguments):
            return _call(function, [number(argument, table) for argument in arguments])


def judge(node: BooleanExpr, table: Table) -> Judgement:
    """Compute a verdict; constants come as arrays without dimensions.

    Raises:
        KeyError: the table lacks a metric.
    """
    match node:
        case Comparison(operators, operands):
            values = [number(operand, table) for operand in operands]
            pairs = zip(operators, pairwise(values), strict=True)
            return all_of([_compare(op, left, right) for op, (left, right) in pairs])
        case Not(operand):
            return none_of([judge(operand, table)])
        case And(operands):
            return all_of([judge(operand, table) for operand in operands])
        case Or(operands):
            return any_of([judge(operand, table) for operand in operands])


def all_of(parts: Sequence[Judgement]) -> Judgement:
    """Pass where every part passes, fail where one fails, else unknown for the first unknown part's reason."""
    return Judgement(reduce(np.minimum, (part.verdict for part in parts)), _first_unknown(parts))


def any_of(parts: Sequence[Judgement]) -> Judgement:
    """Pass where some part passes, fail where all fail, else unknown for the first unknown part's reason."""
    return Judgement(reduce(np.maximum, (part.verdict for part in parts)), _first_unknown(parts))


def none_of(parts: Sequence[Judgement]) -> Judgement:
    """Pass where every part fails, fail where one passes, else unknown for the first unknown part's reason."""
    some = any_of(parts)
    return Judgement(np.subtract(PASS, some.verdict), some.reason)


def _first_unknown(parts: Sequence[Judgement]) -> Codes:
    reason: Codes = np.asarray(OK)
    for part in reversed(parts):
        reason = np.where(part.verdict == UNKNOWN, part.reason, reason)
    return reason


def _arithmetic(op: str, left: Operand, right: Operand) -> Operand:
    reason = np.where(left.reason != OK, left.reason, right.reason)
    if op == "/":
        reason = np.where((reason == OK) & (right.value == 0), _DIVIDED, reason)
    with np.errstate(all="ignore"):
        return _finite(_ARITHMETIC[op](left.value, right.value), reason)


def _call(function: str, arguments: Sequence[Operand]) -> Operand:
    values = [argument.value for argument in arguments]
    reason: Codes = np.asarray(OK)
    for argument in reversed(arguments):
        reason = np.where(argument.reason != OK, argument.reason, reason)
    match function:
        case "abs":
            return _finite(np.abs(values[0]), reason)
        case "min":
            return _finite(reduce(np.minimum, values), reason)
        case "max":
            return _finite(reduce(np.maximum, values), reason)
        case _:
            return _finite(np.minimum(np.maximum(values[0], values[1]), values[2]), reason)


def _finite(value: NDArray[Any], reason: Codes) -> Operand:
    reason = np.where((reason == OK) & ~np.isfinite(value), _NOT_FINITE, reason)
    return Operand(np.where(reason == OK, value, np.nan), reason)


def _compare(op: str, left: Operand, right: Operand) -> Judgement:
    reason = np.where(left.reason != OK, left.reason, right.reason)
    passed = np.where(_COMPARISONS[op](left.value, right.value), PASS, FAIL)
    return Judgement(np.where(reason == OK, passed, UNKNOWN), reason)
