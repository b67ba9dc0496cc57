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
    windowed: bool
    needs_min_obs: bool
    meaning: str


@dataclass(frozen=True, slots=True, order=True)
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


_SPECS: Final = (
    MetricSpec("sharpe", "ratio", True, True, "mean excess return over its standard deviation, annualized"),
    MetricSpec("sharpe_lcb", "ratio", True, True, "lower 95 % confidence bound of the Sharpe ratio"),
    MetricSpec("sortino", "ratio", True, True, "mean return over downside deviation, annualized"),
    MetricSpec("volatility", "fraction per year", True, True, "standard deviation of returns, annualized"),
    MetricSpec("max_dd", "positive fraction", True, False, "largest fall of compounded wealth from its peak"),
    MetricSpec("cagr", "fraction per year", True, False, "compound annual growth rate"),
    MetricSpec("calmar", "ratio", True, True, "compound annual growth over the largest drawdown"),
    MetricSpec("ulcer", "positive fraction", True, False, "root mean square drawdown"),
    MetricSpec("winrate", "fraction", True, False, "share of non-zero periods with a gain"),
    MetricSpec("var_95", "positive loss", True, True, "historical value at risk, 95 %"),
    MetricSpec("var_99", "positive loss", True, True, "historical value at risk, 99 %"),
    MetricSpec("cvar_95", "positive loss", True, True, "mean of the worst 5 % of periods"),
    MetricSpec("cvar_99", "positive loss", True, True, "mean of the worst 1 % of periods"),
    MetricSpec("skew", "none", True, True, "population skewness of returns"),
    MetricSpec("kurt", "none", True, True, "population kurtosis of returns, 3 for a normal"),
    MetricSpec("psr", "probability", True, True, "probability that the true Sharpe ratio is above zero"),
    MetricSpec("dsr", "probability", True, True, "the same, deflated for the number of instances tried"),
    MetricSpec("turnover", "per year", True, False, "one-way turnover, annualized"),
    MetricSpec("trades", "count", True, False, "closed round trips"),
    MetricSpec("leverage", "multiple", False, False, "largest gross notional over capital of the last 20 sessions"),
    MetricSpec("sample_days", "sessions", False, False, "sessions with a return since the first one"),
    MetricSpec("age_days", "sessions", False, False, "sessions since the first return"),
    MetricSpec("data_lag_seconds", "seconds", False, False, "time since the close of the last bar"),
    MetricSpec("last_trade_age_seconds", "seconds", False, False, "time since the last closed round trip"),
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
