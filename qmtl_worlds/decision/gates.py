"""The gates of a policy, condition by condition and all together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from qmtl_worlds.decision.codes import Codes
from qmtl_worlds.decision.expressions import Judgement, Operand, Table, all_of, any_of, judge, none_of, number
from qmtl_worlds.policy.compiler import CompiledPolicy
from qmtl_worlds.policy.nodes import (
    AllOf,
    And,
    AnyOf,
    BooleanExpr,
    Comparison,
    Condition,
    Expr,
    GateNode,
    Metric,
    Negate,
    NoneOf,
    Not,
    Number,
    Or,
)

Pair = tuple[str, str | float, str | float]
"""An operator and its two operands: a constant, or the name of the stored column that holds it."""


@dataclass(frozen=True, slots=True, eq=False)
class ConditionResult:
    """One condition: its text, verdicts and reasons, and the comparisons in it, in the order of the text."""

    text: str
    path: str
    judgement: Judgement
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True, eq=False)
class GateResult:
    """The verdict of all gates, and of each condition; ``operands`` are compared numbers that are no plain metric."""

    judgement: Judgement
    conditions: tuple[ConditionResult, ...]
    operands: Mapping[str, Operand]


def judge_gates(policy: CompiledPolicy, table: Table, *, count: int) -> GateResult:
    """Judge ``count`` instances by every condition, then by the whole tree."""
    operands: dict[str, Operand] = {}
    results = []
    for condition in policy.conditions:
        pairs = [_pair(pair, table, operands) for pair in _comparisons(condition.node)]
        verdict = _judged(judge(condition.node, table), count)
        results.append(ConditionResult(condition.text, condition.path, verdict, tuple(pairs)))
    verdicts = {result.path: result.judgement for result in results}
    stored = {name: broadcast(operand, count) for name, operand in operands.items()}
    return GateResult(_fold(policy.gates, verdicts), tuple(results), stored)


def broadcast(operand: Operand, count: int) -> Operand:
    """Return ``operand`` as columns of ``count`` rows, also where it is a constant."""
    return Operand(np.broadcast_to(operand.value, (count,)).astype(np.float64), _codes(operand.reason, count))


def _fold(node: GateNode, verdicts: Mapping[str, Judgement]) -> Judgement:
    match node:
        case Condition():
            return verdicts[node.path]
        case AllOf(children):
            return all_of([_fold(child, verdicts) for child in children])
        case AnyOf(children):
            return any_of([_fold(child, verdicts) for child in children])
        case NoneOf(children):
            return none_of([_fold(child, verdicts) for child in children])


def _comparisons(node: BooleanExpr) -> list[tuple[str, Expr, Expr]]:
    match node:
        case Comparison(operators, operands):
            return [(op, left, right) for op, (left, right) in zip(operators, pairwise(operands), strict=True)]
        case Not(operand):
            return _comparisons(operand)
        case And(operands) | Or(operands):
            return [pair for operand in operands for pair in _comparisons(operand)]


def _pair(pair: tuple[str, Expr, Expr], table: Table, operands: dict[str, Operand]) -> Pair:
    op, left, right = pair
    return op, _operand(left, table, operands), _operand(right, table, operands)


def _operand(node: Expr, table: Table, operands: dict[str, Operand]) -> str | float:
    match node:
        case Number(value):
            return value
        case Negate(Number(value)):
            return -value
        case Metric(name):
            return f"m:{name}"
        case _:
            column = f"x:{len(operands)}"
            operands[column] = number(node, table)
            return column


def _judged(judgement: Judgement, count: int) -> Judgement:
    return Judgement(_codes(judgement.verdict, count), _codes(judgement.reason, count))


def _codes(values: Codes, count: int) -> Codes:
    return np.broadcast_to(values, (count,)).astype(np.uint8)
