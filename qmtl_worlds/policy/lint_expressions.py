"""Lint rules about what conditions and the score read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from qmtl_worlds.contracts.metric_names import METRICS, parse_metric
from qmtl_worlds.policy.compiler import CompiledPolicy
from qmtl_worlds.policy.lint_warning import LintWarning
from qmtl_worlds.policy.nodes import Comparison, Expr, Metric, Negate, Node, Number
from qmtl_worlds.policy.walk import metric_names, walk_expression

_FEWEST_OBSERVATIONS: Final = 30
_SHARES: Final = frozenset({"max_dd", "ulcer", "winrate", "psr", "dsr", "var_95", "var_99", "cvar_95", "cvar_99"})
_SCORE: Final = "selection.score"


def short_windows(policy: CompiledPolicy) -> Iterator[LintWarning]:
    """Warn of ratios over fewer than 30 sessions: their standard error is larger than any sensible threshold."""
    for path, node in _expressions(policy):
        for name in sorted(metric_names(node)):
            ref = parse_metric(name)
            days = None if ref is None else policy.window_days(ref)
            if ref is not None and days is not None and METRICS[ref.base].needs_min_obs and days < _FEWEST_OBSERVATIONS:
                yield _warning(policy, "short-window", path, f"{name} reads {days} sessions; take 30 or more")


def short_history(policy: CompiledPolicy) -> Iterator[LintWarning]:
    """Warn where metrics count before their longest window is full."""
    longest = max((days, ref.name) for ref in policy.metrics for days in [policy.window_days(ref) or 0])
    history = policy.document.data_currency.min_history_days
    if history < longest[0]:
        message = f"min_history {history}d is shorter than the {longest[0]} sessions of {longest[1]}"
        yield _warning(policy, "short-history", "data_currency.min_history", message)


def impossible_fractions(policy: CompiledPolicy) -> Iterator[LintWarning]:
    """Warn of shares compared with 25 where 0.25 is meant, or with negative numbers."""
    for path, node in _expressions(policy):
        for part in walk_expression(node):
            if isinstance(part, Comparison):
                yield from _impossible_pairs(policy, path, part)


def constant_expressions(policy: CompiledPolicy) -> Iterator[LintWarning]:
    """Warn of a condition or score that is the same for every instance."""
    for condition in policy.conditions:
        if not metric_names(condition.node):
            yield _warning(policy, "constant-condition", condition.path, f"{condition.text!r} reads no metric")
    if not metric_names(policy.score):
        yield _warning(policy, "constant-score", _SCORE, "the score reads no metric")


def _expressions(policy: CompiledPolicy) -> Iterator[tuple[str, Node]]:
    yield from ((condition.path, condition.node) for condition in policy.conditions)
    yield _SCORE, policy.score


def _impossible_pairs(policy: CompiledPolicy, path: str, comparison: Comparison) -> Iterator[LintWarning]:
    for left, right in pairwise(comparison.operands):
        for name, limit in ((_share(left), _literal(right)), (_share(right), _literal(left))):
            if name is not None and limit is not None and not 0 <= limit <= 1:
                message = f"{name} is a share from 0 to 1, compared with {limit:g}"
                yield _warning(policy, "fraction-bounds", path, message)


def _share(node: Expr) -> str | None:
    ref = parse_metric(node.name) if isinstance(node, Metric) else None
    return ref.name if ref is not None and ref.base in _SHARES else None


def _literal(node: Expr) -> float | None:
    match node:
        case Number(value):
            return value
        case Negate(Number(value)):
            return -value
        case _:
            return None


def _warning(policy: CompiledPolicy, code: str, path: str, message: str) -> LintWarning:
    return LintWarning(code, path, policy.line_of(path), message)
