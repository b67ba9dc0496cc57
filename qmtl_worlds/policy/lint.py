"""Warn of what a policy may say but hardly means; a warning never keeps a policy out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from qmtl_worlds.policy.compiler import CompiledPolicy
from qmtl_worlds.policy.lint_expressions import constant_expressions, impossible_fractions, short_history, short_windows
from qmtl_worlds.policy.lint_limits import (
    few_sectors,
    idle_dwell,
    lag_under_bar,
    leverage_under_gross,
    no_slots,
    side_sum,
    small_sectors,
    small_weights,
    unused_sections,
)
from qmtl_worlds.policy.lint_warning import LintWarning

_RULES: Final[tuple[Callable[[CompiledPolicy], Iterator[LintWarning]], ...]] = (
    short_windows,
    short_history,
    impossible_fractions,
    constant_expressions,
    lag_under_bar,
    no_slots,
    side_sum,
    leverage_under_gross,
    small_weights,
    small_sectors,
    idle_dwell,
    unused_sections,
)


def lint(policy: CompiledPolicy, *, sector_count: int | None = None) -> tuple[LintWarning, ...]:
    """Return all warnings in the order of the text.

    ``sector_count`` is the number of sectors among the bound instances; None leaves out the rule that needs it.
    """
    warnings = [warning for rule in _RULES for warning in rule(policy)]
    if sector_count is not None:
        warnings += few_sectors(policy, sector_count=sector_count)
    return tuple(sorted(warnings, key=lambda warning: (warning.line, warning.path, warning.code)))
