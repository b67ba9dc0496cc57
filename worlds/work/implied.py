"""The risk that weights and stored returns imply, where nobody measures the portfolio itself."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from qmtl_worlds.contracts.metric_names import MetricRef
from qmtl_worlds.contracts.statuses import MetricStatus
from qmtl_worlds.decision.metric_table import settings_of
from qmtl_worlds.lifecycle.calendar import Calendar
from qmtl_worlds.lifecycle.exposure import Exposures, average
from qmtl_worlds.metrics.compute import compute_metrics
from qmtl_worlds.metrics.panel import ReturnPanel
from qmtl_worlds.policy.compiler import CompiledPolicy
from strategies.freshness import FreshnessRule, bar_length
from strategies.models import StrategyInstance
from strategies.selectors import evaluation_bytes
from worlds.models import World
from worlds.selectors import policy_in_force
from worlds.services.circuits import LATCH_AFTER, Reach
from worlds.services.freshness import rule_of
from worlds.services.run_rows import compiled
from worlds.work.panel_loader import LoadedBars, load_bars, panel_of

_VAR = MetricRef("var_95", "mid")
_LEVERAGE = MetricRef("leverage")
_TICK: Final = timedelta(seconds=1)
"""Bars close at whole seconds."""


@dataclass(frozen=True, slots=True)
class ImpliedBar:
    """What the world earned by the bars that closed at ``ts``: a simple return on its capital."""

    ts: int
    ret: float


@dataclass(frozen=True, slots=True)
class RiskNow:
    """VaR (a positive fraction) and leverage of the present weights, None where they cannot be known."""

    basis: str
    var_95: float | None
    leverage: float | None


def complete_until(world: World, held: Collection[StrategyInstance], *, now: datetime) -> int:
    """Return the last time up to which no bar of who is held can still come; in whole seconds, at most ``now``.

    A bar is complete once every instance that is due by then has come; who has no bar at all keeps all waiting.
    """
    rule = rule_of(compiled(policy_in_force(world)))
    due = [_due(row.data_end, row.interval_seconds, rule).timestamp() - 1 if row.data_end else 0.0 for row in held]
    return int(min([now.timestamp(), *due]))


def seen_until(world: World, held: Collection[StrategyInstance], *, now: datetime) -> Reach:
    """Return how long the bars of who is held count as fresh input; where nothing is held, nothing can be lost."""
    if not held:
        return Reach(now, now)
    rule = rule_of(compiled(policy_in_force(world)))
    latch = replace(rule, max_lag=LATCH_AFTER * rule.max_lag)
    if any(row.data_end is None or row.fresh_until is None for row in held):
        return Reach()
    return Reach(
        min(row.fresh_until for row in held if row.fresh_until),
        min(latch.until(row.data_end, interval_seconds=row.interval_seconds) for row in held if row.data_end),
    )


def implied_bars(world: World, exposures: Exposures, *, after: int, until: int, start: float) -> tuple[ImpliedBar, ...]:
    """Return the bars with ``after`` < ts <= ``until``: the sum of weight times return over the instances.

    An instance's weight is its average over its bar; what lies before ``start`` counts nothing.
    """
    intervals = _intervals(exposures)
    if until <= after or not intervals:
        return ()
    loaded = _load(world, intervals, first=after + 1, last=until)
    found = []
    for ts, returns in zip(loaded.bars.ts.tolist(), loaded.bars.returns.T.tolist(), strict=True):
        total = 0.0
        for (instance, interval), value in zip(intervals.items(), returns, strict=True):
            if np.isfinite(value):
                total += _weight(exposures, instance, begins=ts - interval, ends=ts, start=start) * value
        found.append(ImpliedBar(ts, total))
    return tuple(found)


def risk_now(world: World, weights: Mapping[int, float], *, as_of: int, basis: str) -> RiskNow:
    """Return historical VaR 95 over the mid window, and the sum of weight times leverage; nothing held is no risk.

    VaR needs ``metrics.min_obs`` sessions in which all that is held has a return; leverage that nobody reports is what
    the policy assumes, else unknown.
    """
    if not weights:
        return RiskNow(basis, 0.0, 0.0)
    policy = compiled(policy_in_force(world))
    panel = _sessions(world, policy, weights, as_of)
    shares = np.array(list(weights.values()))
    whole = np.isfinite(panel.returns).all(axis=0)
    together = ReturnPanel(
        closes=panel.closes, returns=np.where(whole, shares @ np.where(whole, panel.returns, 0.0), np.nan)[None, :]
    )
    settings = settings_of(policy)
    var_95 = compute_metrics(together, [_VAR], as_of=as_of, settings=settings)[_VAR.name]
    lever = compute_metrics(panel, [_LEVERAGE], as_of=as_of, settings=settings)[_LEVERAGE.name]
    assumed = policy.document.selection.constraints.exposure.assume_leverage
    levers = [
        float(value) if status == MetricStatus.OK else assumed
        for value, status in zip(lever.value, lever.status, strict=True)
    ]
    known = [one for one in levers if one is not None]
    return RiskNow(
        basis,
        max(0.0, float(var_95.value[0])) if var_95.status[0] == MetricStatus.OK else None,
        float(shares @ np.array(known)) if len(known) == len(levers) else None,
    )


def _weight(exposures: Exposures, instance: int, *, begins: float, ends: float, start: float) -> float:
    """Return the average weight over a bar, as if nothing had been held before ``start``."""
    begun = max(begins, start)
    if begun >= ends:
        return 0.0
    return average(exposures, start=begun, end=ends).get(instance, 0.0) * (ends - begun) / (ends - begins)


def _intervals(exposures: Exposures) -> dict[int, int]:
    """Return the length of a bar, in seconds, of every instance that the log knows."""
    known = {instance for _, weights in exposures.entries for instance in weights}
    rows = StrategyInstance.objects.filter(pk__in=known).order_by("pk")
    return dict(rows.values_list("pk", "interval_seconds"))


def _sessions(world: World, policy: CompiledPolicy, weights: Mapping[int, float], as_of: int) -> ReturnPanel:
    calendar = Calendar.load(policy.document.metrics.calendar)
    end = bisect_right(calendar.closes, as_of)
    begin = max(0, end - policy.document.metrics.windows.mid_days)
    after = calendar.closes[begin - 1] if begin else 0
    loaded = _load(world, weights, first=after + 1, last=as_of)
    return panel_of(loaded, closes=np.array(calendar.closes[begin:end], dtype=np.int64), after=after)


def _load(world: World, instances: Collection[int], *, first: int, last: int) -> LoadedBars:
    provenance = frozenset(compiled(policy_in_force(world)).document.metrics.provenance)
    return load_bars(evaluation_bytes(world.id, first=first, last=last, provenance=provenance), list(instances))


def _due(data_end: datetime, interval_seconds: int, rule: FreshnessRule) -> datetime:
    """Return when the bar after ``data_end`` closes."""
    bar = rule.bar or bar_length(interval_seconds)
    if rule.calendar is None:
        return data_end + bar.wall_time
    if bar.sessions:
        return rule.calendar.session_add(data_end, bar.sessions)
    return rule.calendar.open_time_add(data_end, bar.time - _TICK) + _TICK
