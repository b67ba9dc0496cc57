"""The world's risk circuit: it trips on evidence, latches, and only a governed reset closes it again (I11)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

TRIP_AT_ONCE: Final = 2.0
"""A value of this many times its limit trips without waiting for confirmation."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a world may lose and carry; None tests nothing. ``warn_at`` is a share of each limit."""

    max_drawdown: float | None = None
    var_95: float | None = None
    max_leverage: float | None = None
    confirm_samples: int = 2
    warn_at: float = 0.8


@dataclass(frozen=True, slots=True)
class RiskSample:
    """The world's risk at ``ts``: drawdown and VaR as positive fractions, leverage as a multiple; None not measured."""

    ts: datetime
    drawdown: float | None = None
    var_95: float | None = None
    leverage: float | None = None


@dataclass(frozen=True, slots=True)
class CircuitState:
    """What is remembered between samples. ``breaching_count`` counts the latest samples in a row that breach."""

    tripped: bool = False
    breaching_count: int = 0
    last_ts: datetime | None = None
    warned: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Breach:
    """One limit that a sample breaks or comes near; ``share`` is value over limit."""

    measure: str
    value: float
    limit: float
    share: float


@dataclass(frozen=True, slots=True)
class CircuitStep:
    """The state after a sample, what breaches, what newly warns, and whether this sample trips."""

    state: CircuitState
    breaches: tuple[Breach, ...]
    warnings: tuple[Breach, ...]
    trips: bool


def judge_sample(limits: Limits, state: CircuitState, sample: RiskSample) -> CircuitStep:
    """Judge one sample.

    ``confirm_samples`` breaching samples in a row with rising ``ts`` trip, whatever they breach; one at twice a limit
    trips at once. A sample not later than the last one confirms nothing, but can still trip at once. A value that is
    no number breaches. What has tripped stays so; a measure warns once until it has been below ``warn_at`` again.
    """
    readings = _readings(limits, sample)
    breaches = tuple(reading for reading in readings if not reading.share <= 1)
    near = tuple(reading for reading in readings if not reading.share < limits.warn_at)
    is_new = state.last_ts is None or sample.ts > state.last_ts
    count = _count(state, breaching=bool(breaches), is_new=is_new)
    at_once = any(not reading.share < TRIP_AT_ONCE for reading in breaches)
    trips = not state.tripped and (at_once or (bool(breaches) and count >= limits.confirm_samples))
    after = CircuitState(
        tripped=state.tripped or trips,
        breaching_count=count,
        last_ts=sample.ts if is_new else state.last_ts,
        warned=frozenset(reading.measure for reading in near),
    )
    return CircuitStep(after, breaches, tuple(one for one in near if one.measure not in state.warned), trips)


def reset(state: CircuitState) -> CircuitState:
    """Return the state after a governed reset; samples up to now stay counted as seen."""
    return replace(state, tripped=False, breaching_count=0, warned=frozenset())


@dataclass(frozen=True, slots=True)
class HighWaterMark:
    """The highest equity so far (> 0), and when it was reached."""

    equity: float
    reached_at: datetime


def raised(mark: HighWaterMark | None, *, equity: float, ts: datetime) -> HighWaterMark:
    """Return the mark after an equity at ``ts``; an equal one keeps the older date."""
    if mark is not None and not equity > mark.equity:
        return mark
    return HighWaterMark(equity, ts)


def drawdown(mark: HighWaterMark, *, equity: float) -> float:
    """Return the fall of ``equity`` below the mark as a fraction >= 0."""
    return max(0.0, 1.0 - equity / mark.equity)


class RiskInput(StrEnum):
    """How old the risk circuit's own input is."""

    FRESH = "fresh"
    STALE = "stale"
    LATCHED = "latched"


def risk_input(*, fresh_until: datetime | None, latches_at: datetime | None, now: datetime) -> RiskInput:
    """Return whether the input is fresh, stale (a hold that clears itself), or so old that the circuit latches.

    ``latches_at`` is 10 x max_lag of open time after the last sample; a missing time counts as past.
    """
    if latches_at is None or now > latches_at:
        return RiskInput.LATCHED
    return RiskInput.FRESH if fresh_until is not None and now <= fresh_until else RiskInput.STALE


def _readings(limits: Limits, sample: RiskSample) -> tuple[Breach, ...]:
    measures = (
        ("max_drawdown", sample.drawdown, limits.max_drawdown),
        ("var_95", sample.var_95, limits.var_95),
        ("max_leverage", sample.leverage, limits.max_leverage),
    )
    return tuple(
        Breach(measure, value, limit, _share(value, limit))
        for measure, value, limit in measures
        if value is not None and limit is not None
    )


def _share(value: float, limit: float) -> float:
    return value / limit if limit > 0 else (0.0 if value <= 0 else float("inf"))


def _count(state: CircuitState, *, breaching: bool, is_new: bool) -> int:
    if not is_new:
        return state.breaching_count
    return state.breaching_count + 1 if breaching else 0
