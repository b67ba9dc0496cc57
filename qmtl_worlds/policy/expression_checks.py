"""What is wrong with an expression that reads well: names that are no metric, values that can never be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from qmtl_worlds.contracts.errors import ExpressionInvalidError
from qmtl_worlds.contracts.metric_names import METRICS, WINDOWS, parse_metric
from qmtl_worlds.policy.expression import parse_condition, parse_number
from qmtl_worlds.policy.nodes import Arithmetic, Call, Metric, Negate, Node, Number
from qmtl_worlds.policy.walk import walk_expression


@dataclass(frozen=True, slots=True)
class TextFault:
    """One thing wrong with an expression; ``column`` is 1-based in it, ``word`` a name that may be misspelled."""

    column: int
    code: str
    message: str
    word: str | None = None


def condition_faults(text: str) -> tuple[TextFault, ...]:
    """Return all that is wrong with ``text`` as a condition; of its grammar only the first fault is known."""
    try:
        return tuple(_faults_of(parse_condition(text)))
    except ExpressionInvalidError as error:
        return (TextFault(error.column, error.kind, error.detail),)


def number_faults(text: str) -> tuple[TextFault, ...]:
    """Return all that is wrong with ``text`` as a number; of its grammar only the first fault is known."""
    try:
        return tuple(_faults_of(parse_number(text)))
    except ExpressionInvalidError as error:
        return (TextFault(error.column, error.kind, error.detail),)


def metric_choices(word: str) -> tuple[str, ...]:
    """Return the metric names that ``word`` may have meant, with its own number of days where it has one."""
    _, _, last = word[:64].rpartition("_")
    return _names_with((last,) if last[:-1].isdecimal() and last.endswith("d") else WINDOWS)


@lru_cache(maxsize=64)
def _names_with(windows: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        name
        for spec in METRICS.values()
        for name in ([f"{spec.name}_{window}" for window in windows] if spec.windowed else [spec.name])
    )


def _faults_of(node: Node) -> Iterator[TextFault]:
    for part in walk_expression(node):
        match part:
            case Metric(name, column) if parse_metric(name) is None:
                yield _unknown_metric(name, column)
            case Arithmetic("/", _, Number(0), column):
                yield TextFault(column, "division-by-zero", "division by zero is never a number")
            case Call("clip", (_, low, high), column) if _crossed(low, high):
                yield TextFault(column, "contradiction", "the low bound of clip is above the high one")
            case _:
                pass


def _unknown_metric(name: str, column: int) -> TextFault:
    if (spec := METRICS.get(name)) and spec.windowed:
        return TextFault(column, "unknown-metric", f"{name} needs a window: {name}_mid or {name}_60d")
    return TextFault(column, "unknown-metric", f"{name!r} is no metric", word=name)


def _crossed(low: Node, high: Node) -> bool:
    first, second = _literal(low), _literal(high)
    return first is not None and second is not None and first > second


def _literal(node: Node) -> float | None:
    match node:
        case Number(value):
            return value
        case Negate(Number(value)):
            return -value
        case _:
            return None
