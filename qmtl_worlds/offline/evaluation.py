"""Evaluate a policy over the returns of a file: no server, no database, the same answer."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.decision.inputs import LONG, SHORT, EvaluationInput
from qmtl_worlds.decision.lookback import sessions_needed
from qmtl_worlds.decision.outcome import Decision
from qmtl_worlds.decision.pipeline import decide
from qmtl_worlds.lifecycle.calendar import Calendar, fresh_until, parse_bar
from qmtl_worlds.metrics.bars import BarBlock, compound_bars
from qmtl_worlds.metrics.panel import ReturnPanel
from qmtl_worlds.offline.returns_file import ReturnRows
from qmtl_worlds.offline.state_file import NOTHING_KNOWN, InstanceState, WorldState
from qmtl_worlds.policy.compiler import CompiledPolicy

Floats = NDArray[np.float64]

_NOTHING_BEFORE: Final = 0


@dataclass(frozen=True, slots=True)
class Moment:
    """When: ``as_of`` is the time of the data, ``now`` that of the question; aware, ``as_of`` <= ``now``."""

    as_of: datetime
    now: datetime


def evaluate_returns(
    policy: CompiledPolicy,
    returns: ReturnRows,
    *,
    moment: Moment | None = None,
    previous: WorldState | None = None,
    bar: str = "1d",
) -> Decision:
    """Decide which instances of a file should be active.

    ``moment`` defaults to the close of the last bar. ``previous`` is the state after the evaluation before; members it
    names without a bar in the file are kept as unknown. ``bar`` is the length of the file's bars (``5m``, ``1h``,
    ``1d`` = a session), where the policy does not say it. The file's rows all count, whatever ``metrics.provenance``.

    Raises:
        InputInvalidError: ``as_of`` is after ``now``, or ``bar`` is no length.
    """
    moment = moment or Moment(returns.last, returns.last)
    if moment.as_of > moment.now:
        raise InputInvalidError(field="as_of", reason=f"is after now, {moment.now.isoformat()}")
    return decide(policy, _gather(policy, returns, moment, previous, bar), now=moment.now)


def _gather(
    policy: CompiledPolicy, returns: ReturnRows, moment: Moment, previous: WorldState | None, bar: str
) -> EvaluationInput:
    known: Mapping[str, InstanceState] = previous.instances if previous else {}
    keys = tuple(sorted({*returns.keys, *(key for key, state in known.items() if state.weight)}))
    states = [known.get(key, NOTHING_KNOWN) for key in keys]
    bars = returns.bars(keys, as_of=int(moment.as_of.timestamp()))
    first_bar, data_end = _extent(bars)
    return EvaluationInput(
        world_id=policy.document.world,
        as_of=moment.as_of,
        keys=keys,
        side=np.array([_side_number(key) for key in keys], dtype=np.uint8),
        bound_at=first_bar,
        sector=tuple(returns.sectors.get(key) for key in keys),
        active=np.array([state.weight > 0 for state in states], dtype=np.bool_),
        weight=np.array([state.weight for state in states], dtype=np.float64),
        dwell_since=np.array([np.nan if s.since is None else s.since.timestamp() for s in states], dtype=np.float64),
        in_streak=np.array([state.in_streak for state in states], dtype=np.int32),
        out_streak=np.array([state.out_streak for state in states], dtype=np.int32),
        evidence=np.array([state.evidence for state in states], dtype=np.int64),
        streak_checksum=previous.selection_checksum if previous else "",
        fresh_until=_fresh_until(policy, data_end, bar),
        held=np.zeros(len(keys), dtype=np.bool_),
        panel=_panel(policy, bars, moment.as_of),
        has_applied_set=previous is not None and previous.has_applied_set,
    )


def _side_number(key: str) -> int:
    return LONG if InstanceKey.from_text(key).side is Side.LONG else SHORT


def _panel(policy: CompiledPolicy, bars: BarBlock, as_of: datetime) -> ReturnPanel:
    """Return the sessions that the policy looks back on, from the first bar on."""
    calendar = Calendar.load(policy.document.metrics.calendar)
    end = bisect_right(calendar.closes, as_of.timestamp())
    first = bisect_left(calendar.closes, int(bars.ts[0])) if len(bars.ts) else end
    start = max(0, first, end - sessions_needed(policy))
    after = calendar.closes[start - 1] if start else _NOTHING_BEFORE
    return compound_bars(bars, closes=np.array(calendar.closes[start:end], dtype=np.int64), after=after)


def _extent(bars: BarBlock) -> tuple[Floats, Floats]:
    """Return the times of the first and the last bar of each instance, NaN without one."""
    seen = ~np.isnan(bars.returns)
    if not len(bars.ts):
        return np.full(len(seen), np.nan), np.full(len(seen), np.nan)
    last = len(bars.ts) - 1 - seen[:, ::-1].argmax(axis=1)
    some = seen.any(axis=1)
    return np.where(some, bars.ts[seen.argmax(axis=1)], np.nan), np.where(some, bars.ts[last], np.nan)


def _fresh_until(policy: CompiledPolicy, data_end: Floats, bar: str) -> Floats:
    """Return the end of freshness of each instance; equal ends of data are looked up once."""
    currency = policy.document.data_currency
    is_aligned = currency.bar_alignment == "exchange_calendar"
    calendar = Calendar.load(policy.document.metrics.calendar) if is_aligned else None
    length = parse_bar(currency.bar or bar)
    until = np.full(len(data_end), np.nan)
    for end in set(data_end[~np.isnan(data_end)].tolist()):
        last = fresh_until(_instant(end), bar=length, max_lag=currency.max_lag, calendar=calendar)
        until[data_end == end] = last.timestamp()
    return until


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
