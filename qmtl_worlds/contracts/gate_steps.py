"""How the conditions of a policy's gates came out for one instance, and which of them stand in its way."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from qmtl_worlds.contracts.reasons import Reason, Stage, StepVerdict
from qmtl_worlds.contracts.trace import TraceStep

Row = Mapping[str, float]
"""The cells of one instance by column name; NaN is "not there"."""
Facts = Mapping[str, Any]
"""What all instances of a run share: limits, conditions, the selected set."""

VERDICTS: Final = (StepVerdict.FAIL, StepVerdict.UNKNOWN, StepVerdict.PASS)
"""Verdicts by their number, ordered so that ``and`` is the smaller and ``or`` the larger one."""
_PASS: Final = VERDICTS.index(StepVerdict.PASS)
_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_GAINS: Final = frozenset({">", ">="})
_LOSSES: Final = frozenset({"<", "<="})
_BRANCH: Final = re.compile(r"\.(and|or|not)\[(\d+)\]")


def gate_steps(row: Row, facts: Facts) -> list[TraceStep]:
    """Return a step for each condition, in the order of the text, and one for all of them together.

    A condition under ``not`` passes where it does not hold. One that does not pass says why only where that keeps the
    gates from passing: a failed branch of an ``or`` that another branch meets has reason ``ok``.
    """
    leaves = [_leaf(row, number, condition) for number, condition in enumerate(facts["conditions"])]
    blocking = _judge(leaves, depth=0, turned=False).blocking
    steps = [_condition(row, facts, leaf, blocks=leaf.number in blocking) for leaf in leaves]
    verdict = VERDICTS[int(row["gate"])]
    reason = _why(verdict, reason_of(row, "gate_reason", facts))
    return [*steps, TraceStep(Stage.GATES, verdict, reason, "all gates together")]


def present(value: float) -> float | None:
    """Return ``value``, or None where it is NaN."""
    return None if math.isnan(value) else value


def reason_of(row: Row, column: str, facts: Facts) -> Reason:
    """Return the reason whose number stands in ``column``."""
    return Reason(facts["reasons"][int(row[column])])


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A condition; ``branches`` lead to it from the root: a kind of group, and the place in it."""

    number: int
    branches: tuple[tuple[str, int], ...]
    verdict: int

    @property
    def negated(self) -> bool:
        return sum(kind == "not" for kind, _ in self.branches) % 2 == 1


@dataclass(frozen=True, slots=True)
class _Judgement:
    """The verdict of a part of the tree, and the conditions that keep it from passing."""

    verdict: int
    blocking: frozenset[int]


def _leaf(row: Row, number: int, condition: Mapping[str, Any]) -> _Leaf:
    branches = tuple((kind, int(place)) for kind, place in _BRANCH.findall(condition["path"]))
    leaf = _Leaf(number, branches, int(row[f"g:{number}"]))
    return replace(leaf, verdict=_PASS - leaf.verdict) if leaf.negated else leaf


def _judge(leaves: Sequence[_Leaf], *, depth: int, turned: bool) -> _Judgement:
    """Judge the part of the tree that ``leaves`` make up below ``depth``; ``turned``: under an odd number of ``not``s.

    A group that needs all its children is kept from passing by those with its verdict, as is one that needs any.
    """
    first = leaves[0]
    if len(first.branches) == depth:
        return _Judgement(first.verdict, frozenset() if first.verdict == _PASS else frozenset({first.number}))
    kind = first.branches[depth][0]
    places = dict.fromkeys(leaf.branches[depth][1] for leaf in leaves)
    children = [
        _judge(
            [leaf for leaf in leaves if leaf.branches[depth][1] == place],
            depth=depth + 1,
            turned=turned != (kind == "not"),
        )
        for place in places
    ]
    needs_all = (kind == "or") == turned
    verdict = (min if needs_all else max)(child.verdict for child in children)
    blocking = [child.blocking for child in children if child.verdict == verdict]
    return _Judgement(verdict, frozenset().union(*blocking) if verdict != _PASS else frozenset())


def _condition(row: Row, facts: Facts, leaf: _Leaf, *, blocks: bool) -> TraceStep:
    condition, verdict = facts["conditions"][leaf.number], VERDICTS[leaf.verdict]
    text = f"not ({condition['text']})" if leaf.negated else condition["text"]
    reason = _why(verdict, reason_of(row, f"h:{leaf.number}", facts)) if blocks else Reason.OK
    value, threshold, margin = _figures(row, condition["pairs"], VERDICTS[int(row[f"g:{leaf.number}"])])
    if leaf.negated and margin is not None:
        margin = -margin
    return TraceStep(Stage.GATES, verdict, reason, text, value, threshold, margin)


def _why(verdict: StepVerdict, unknown: Reason) -> Reason:
    if verdict is StepVerdict.UNKNOWN:
        return unknown
    return Reason.OK if verdict is StepVerdict.PASS else Reason.GATE_FAILED


def _figures(
    row: Row, pairs: Sequence[tuple[str, str | float, str | float]], verdict: StepVerdict
) -> tuple[float | None, float | None, float | None]:
    """Return value, threshold and margin of the first comparison that came out as the condition did."""
    for symbol, left, right in pairs:
        value, threshold = _operand(row, left), _operand(row, right)
        if _compare(symbol, value, threshold) is verdict:
            return value, threshold, _margin(symbol, value, threshold)
    return None, None, None


def _compare(symbol: str, value: float | None, threshold: float | None) -> StepVerdict:
    if value is None or threshold is None:
        return StepVerdict.UNKNOWN
    return StepVerdict.PASS if _COMPARISONS[symbol](value, threshold) else StepVerdict.FAIL


def _operand(row: Row, operand: str | float) -> float | None:
    return present(row[operand]) if isinstance(operand, str) else operand


def _margin(symbol: str, value: float | None, threshold: float | None) -> float | None:
    if value is None or threshold is None:
        return None
    if symbol in _GAINS:
        return value - threshold
    if symbol in _LOSSES:
        return threshold - value
    gap = abs(value - threshold)
    return gap if symbol == "!=" else -gap
