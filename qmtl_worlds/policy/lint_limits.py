"""Lint rules about slots, budgets, caps and times."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta

from qmtl_worlds.contracts.ids import Side
from qmtl_worlds.policy.compiler import CompiledPolicy
from qmtl_worlds.policy.document import PolicyDocument
from qmtl_worlds.policy.lint_warning import LintWarning
from qmtl_worlds.policy.operation import EverySchedule
from qmtl_worlds.policy.units import format_duration, parse_duration

_EXPOSURE = "selection.constraints.exposure"
_SECTOR_CAP = f"{_EXPOSURE}.sector_cap.per_sector"
_TOLERANCE = 1e-12


def lag_under_bar(policy: CompiledPolicy) -> Iterator[LintWarning]:
    """Warn where the wall clock makes data stale before the next bar can come after a closure."""
    currency = policy.document.data_currency
    bar = _bar(policy.document)
    if bar is not None and currency.bar_alignment == "wall_clock" and currency.max_lag < bar:
        message = (
            f"max_lag {format_duration(currency.max_lag)} is under the bar of {currency.bar}; align to the calendar"
        )
        yield _warning(policy, "lag-under-bar", "data_currency.max_lag", message)


def no_slots(policy: CompiledPolicy) -> Iterator[LintWarning]:
    """Warn where nothing can be selected."""
    topk = policy.document.selection.topk
    if min(topk.total, topk.by_side.long + topk.by_side.short) == 0:
        yield _warning(policy, "no-slots", "selection.topk", "there is no slot: everything active will be demoted")


def side_sum(policy: CompiledPolicy) -> Iterator[LintWarning]:
    """Warn where slots of the sides and the total differ: the smaller one binds."""
    topk = policy.document.selection.topk
    if (slots := topk.by_side.long + topk.by_side.short) != topk.total:
        message = f"by_side gives {slots} slots, total {topk.total}; the smaller number binds"
        yield _warning(policy, "side-sum", "selection.topk.by_side", message)


def leverage_under_gross(policy: CompiledPolicy) -> Iterator[LintWarning]:
    """Warn where the leverage cap leaves slots empty however little leverage instances take."""
    gross, cap = _gross(policy), policy.document.selection.constraints.exposure.leverage_cap
    if gross > cap + _TOLERANCE:
        message = f"budgets of {gross:g} are over the leverage cap of {cap:g}"
        yield _warning(policy, "leverage-under-gross", f"{_EXPOSURE}.max_leverage", message)


def small_weights(policy: CompiledPolicy) -> Iterator[LintWarning]:
    """Warn where the largest weight is under that of a slot."""
    limit = policy.document.selection.weights.max_weight
    for side in Side:
        slot = policy.slot_weight(side)
        if limit is not None and limit < slot - _TOLERANCE:
            message = f"max_weight {limit:g} is under the {side.value} slot of {slot:g}"
            yield _warning(policy, "weight-under-slot", "selection.weights.max_weight", message)


def small_sectors(policy: CompiledPolicy) -> Iterator[LintWarning]:
    """Warn where the sector cap has no room for one slot of a side."""
    for side in Side:
        slot, cap = policy.slot_weight(side), _sector_cap(policy)
        if slot > cap + _TOLERANCE:
            message = f"one {side.value} slot of {slot:g} is over the cap of {cap:g}"
            yield _warning(policy, "sector-under-slot", _SECTOR_CAP, message)


def few_sectors(policy: CompiledPolicy, *, sector_count: int) -> Iterator[LintWarning]:
    """Warn where ``sector_count`` sectors cannot take the budgets."""
    cap, gross = _sector_cap(policy), _gross(policy)
    needed = math.ceil(gross / cap - _TOLERANCE)
    if sector_count < needed:
        message = f"budgets of {gross:g} under a cap of {cap:g} need {needed} sectors, there are {sector_count}"
        yield _warning(policy, "sector-undeployable", _SECTOR_CAP, message)


def idle_dwell(policy: CompiledPolicy) -> Iterator[LintWarning]:
    """Warn where counting evidence takes longer than the dwell, so that the dwell never decides."""
    hysteresis = policy.document.selection.hysteresis
    evaluations = min(hysteresis.promote_after, hysteresis.demote_after)
    step = _evidence_step(policy.document)
    if timedelta(0) < hysteresis.min_dwell <= evaluations * step:
        dwell = format_duration(hysteresis.min_dwell)
        message = (
            f"min_dwell {dwell} is over before {evaluations} evaluations count, {format_duration(step)} apart at least"
        )
        yield _warning(policy, "inert-dwell", "selection.hysteresis.min_dwell", message)


def unused_sections(policy: CompiledPolicy) -> Iterator[LintWarning]:
    """Warn of sections that this version only stores."""
    if policy.document.tests:
        yield _warning(policy, "tests-not-run", "tests", "tests are stored, not run")
    if policy.document.risk.ladder:
        yield _warning(policy, "ladder-not-enforced", "risk.ladder", "the ladder is stored, not enforced")


def _gross(policy: CompiledPolicy) -> float:
    topk, budget = policy.document.selection.topk, policy.document.selection.constraints.exposure.gross_budget
    return sum(budget[side] for side in Side if topk.by_side[side])


def _sector_cap(policy: CompiledPolicy) -> float:
    cap = policy.document.selection.constraints.exposure.sector_cap
    return math.inf if cap is None else cap.per_sector


def _bar(document: PolicyDocument) -> timedelta | None:
    return None if document.data_currency.bar is None else parse_duration(document.data_currency.bar)


def _evidence_step(document: PolicyDocument) -> timedelta:
    """Evidence is new once a period, a day, at the soonest."""
    every = document.schedule.every if isinstance(document.schedule, EverySchedule) else timedelta(0)
    return max(every, timedelta(days=1))


def _warning(policy: CompiledPolicy, code: str, path: str, message: str) -> LintWarning:
    return LintWarning(code, path, policy.line_of(path), message)
