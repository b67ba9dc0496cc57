"""The metrics a policy may name, and the grammar of their names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

Window = Literal["short", "mid", "long"]
WINDOWS: Final[tuple[Window, ...]] = ("short", "mid", "long")
REPORTED_PREFIX: Final = "reported."
MAX_WINDOW_DAYS: Final = 2520


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """What a metric is; ``needs_min_obs`` marks those that take ``metrics.min_obs`` observations, not one."""

    name: str
    unit: str
    meaning: str
    windowed: bool
    needs_min_obs: bool


@dataclass(frozen=True, slots=True)
class MetricRef:
    """A metric over a window: a named one, a number of days, or none for unwindowed and reported metrics."""

    base: str
    window: Window | int | None = None

    @property
    def name(self) -> str:
        """Return the name as a policy writes it."""
        match self.window:
            case None:
                return self.base
            case int(days):
                return f"{self.base}_{days}d"
            case word:
                return f"{self.base}_{word}"

    @property
    def is_reported(self) -> bool:
        """Tell whether Runners report the value themselves."""
        return self.base.startswith(REPORTED_PREFIX)


_RATIOS: Final = (  # windowed; need metrics.min_obs observations
    ("sharpe", "ratio", "mean excess return over its standard deviation, annualized"),
    ("sharpe_lcb", "ratio", "lower 95 % confidence bound of the Sharpe ratio"),
    ("sortino", "ratio", "mean return over downside deviation, annualized"),
    ("volatility", "fraction per year", "standard deviation of returns, annualized"),
    ("calmar", "ratio", "compound annual growth over the largest drawdown"),
    ("var_95", "positive loss", "historical value at risk, 95 %"),
    ("var_99", "positive loss", "historical value at risk, 99 %"),
    ("cvar_95", "positive loss", "mean of the worst 5 % of periods"),
    ("cvar_99", "positive loss", "mean of the worst 1 % of periods"),
    ("skew", "none", "population skewness of returns"),
    ("kurt", "none", "population kurtosis of returns, 3 for a normal"),
    ("psr", "probability", "probability that the true Sharpe ratio is above zero"),
    ("dsr", "probability", "the same, deflated for the number of instances tried"),
)
_MEASURES: Final = (  # windowed; one observation is enough
    ("max_dd", "positive fraction", "largest fall of compounded wealth from its peak"),
    ("cagr", "fraction per year", "compound annual growth rate"),
    ("ulcer", "positive fraction", "root mean square drawdown"),
    ("winrate", "fraction", "share of non-zero periods with a gain"),
    ("turnover", "per year", "one-way turnover, annualized"),
    ("trades", "count", "closed round trips"),
)
_FACTS: Final = (  # no window
    ("leverage", "multiple", "largest gross notional over capital of the last 20 sessions"),
    ("sample_days", "sessions", "sessions with a return since the first one"),
    ("age_days", "sessions", "sessions since the first return"),
    ("data_lag_seconds", "seconds", "time since the close of the last bar"),
    ("last_trade_age_seconds", "seconds", "time since the last closed round trip"),
)
_SPECS: Final = (
    *(MetricSpec(name, unit, meaning, windowed=True, needs_min_obs=True) for name, unit, meaning in _RATIOS),
    *(MetricSpec(name, unit, meaning, windowed=True, needs_min_obs=False) for name, unit, meaning in _MEASURES),
    *(MetricSpec(name, unit, meaning, windowed=False, needs_min_obs=False) for name, unit, meaning in _FACTS),
)
METRICS: Final = {spec.name: spec for spec in _SPECS}

_DAYS = re.compile(r"(?P<base>[a-z][a-z0-9_]*)_(?P<days>[1-9][0-9]{0,3})d")
_REPORTED = re.compile(r"reported\.[a-z][a-z0-9_]{0,62}")


def parse_metric(name: str) -> MetricRef | None:
    """Return what ``name`` refers to, or None where it is no metric.

    ``sharpe_mid`` and ``sharpe_45d`` name windows, ``sample_days`` has none, ``reported.alpha`` comes from Runners.
    A window of days is at most ``MAX_WINDOW_DAYS``.
    """
    if _REPORTED.fullmatch(name):
        return MetricRef(name)
    if (spec := METRICS.get(name)) is not None:
        return None if spec.windowed else MetricRef(name)
    return _parse_windowed(name)


def _parse_windowed(name: str) -> MetricRef | None:
    for word in WINDOWS:
        base = name.removesuffix(f"_{word}")
        if base != name and _is_windowed(base):
            return MetricRef(base, word)
    days = _DAYS.fullmatch(name)
    if days and _is_windowed(days["base"]) and int(days["days"]) <= MAX_WINDOW_DAYS:
        return MetricRef(days["base"], int(days["days"]))
    return None


def _is_windowed(base: str) -> bool:
    return base in METRICS and METRICS[base].windowed
