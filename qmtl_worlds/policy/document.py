"""The one definition of a policy document; YAML keys are the aliases.

Lengths in ``*_days`` are sessions of the world's calendar. Ranges and defaults are those of the policy reference.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from qmtl_worlds.contracts.ids import WORLD_ID_PATTERN, Side
from qmtl_worlds.policy.fields import (
    MAX_SLOTS,
    Duration,
    EvidenceCount,
    Multiple,
    Part,
    PositiveShare,
    Score,
    Sessions,
    Share,
    SlotCount,
)
from qmtl_worlds.policy.gates import Gate, ScoreText
from qmtl_worlds.policy.operation import ApplyPolicy, PositionPolicy, Risk, Schedule

ROUND_THE_CLOCK = "24/7"
"""The calendar without sessions: a period is a UTC day."""


def _without_repeats(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


Provenance = Annotated[
    tuple[Literal["backtest", "paper", "live"], ...],
    Field(min_length=1, max_length=3, strict=False),
    AfterValidator(_without_repeats),
]
"""Whose rows count; a set, kept in one order."""


class DataCurrency(Part):
    """How old and how short data may be.

    ``max_lag`` counts from the close of the next bar, in the calendar's open time under ``exchange_calendar``. ``bar``
    is None where each instance's declared interval counts; ``1d`` is a session.
    """

    max_lag: Duration
    min_history_days: Sessions = Field(default=0, alias="min_history")
    bar_alignment: Literal["exchange_calendar", "wall_clock"] = "wall_clock"
    bar: Annotated[str, Field(pattern=r"^([1-9][0-9]{0,4}[smh]|1d)$")] | None = None


class Windows(Part):
    """What short, mid and long mean, in sessions; each is longer than the one before."""

    short_days: Sessions = Field(default=30, alias="short")
    mid_days: Sessions = Field(default=90, alias="mid")
    long_days: Sessions = Field(default=365, alias="long")

    @model_validator(mode="after")
    def _rise(self) -> Self:
        if not 0 < self.short_days < self.mid_days < self.long_days:
            raise PydanticCustomError("contradiction", "windows must rise: 0 < short < mid < long")
        return self


class MetricsPolicy(Part):
    """How metrics are computed; ``rf`` is the risk-free return of one period."""

    frequency: Literal["1d"] = "1d"
    windows: Windows = Windows()
    calendar: Annotated[str, Field(pattern=r"^(24/7|[A-Z][A-Z0-9]{3})$")] = ROUND_THE_CLOCK
    provenance: Provenance = ("live", "paper")
    min_obs: Annotated[int, Field(ge=2, le=2520)] = 20
    rf: Annotated[float, Field(ge=-0.01, le=0.01)] = 0.0

    @property
    def periods_per_year(self) -> int:
        """Return 365 for the round-the-clock calendar, 252 for one with sessions."""
        return 365 if self.calendar == ROUND_THE_CLOCK else 252

    @model_validator(mode="before")
    @classmethod
    def _long_window_of_calendar(cls, value: Any) -> Any:
        """A year of sessions is 252 of them."""
        if not isinstance(value, dict) or value.get("calendar", ROUND_THE_CLOCK) == ROUND_THE_CLOCK:
            return value
        windows = value.get("windows", {})
        return value | {"windows": {"long": "252d"} | windows} if isinstance(windows, dict) else value


class SlotCounts(Part):
    """Slots of each side; ``counts[side]``."""

    long: SlotCount = 0
    short: SlotCount = 0

    def __getitem__(self, side: Side) -> int:
        """Return the slots of ``side``."""
        return self.long if side is Side.LONG else self.short


class SideShares(Part):
    """A share of capital for each side; ``shares[side]`` is 0 where none is given."""

    long: Share | None = None
    short: Share | None = None

    def __getitem__(self, side: Side) -> float:
        """Return the share of ``side``, 0 where none is given."""
        return (self.long if side is Side.LONG else self.short) or 0.0


class TopK(Part):
    """At most ``total`` slots, at most ``by_side`` of each side; by default all are long."""

    total: SlotCount
    by_side: SlotCounts = SlotCounts()

    @model_validator(mode="before")
    @classmethod
    def _all_long(cls, value: Any) -> Any:
        """Without ``by_side`` every slot is long."""
        if isinstance(value, dict) and "by_side" not in value and isinstance(value.get("total"), int):
            return value | {"by_side": {"long": value["total"], "short": 0}}
        return value


class Correlation(Part):
    """No two selected instances above ``max_pairwise``, on session returns of ``window_days``."""

    max_pairwise: Annotated[float, Field(ge=-1, le=1)]
    window_days: Sessions = Field(default=120, alias="window")
    mode: Literal["signed", "abs"] = "signed"
    min_overlap: Annotated[int, Field(ge=2, le=2520)] | None = None
    on_unknown: Literal["conflict", "ignore"] = "conflict"

    @property
    def required_overlap(self) -> int:
        """Return how many common sessions a pair needs: ``min_overlap``, else max(30, window / 2)."""
        return self.min_overlap if self.min_overlap is not None else max(30, self.window_days // 2)

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.required_overlap > self.window_days:
            raise PydanticCustomError(
                "contradiction",
                "window {window}d never holds the {overlap} common sessions that min_overlap asks for",
                {"window": self.window_days, "overlap": self.required_overlap},
            )
        return self


class SectorCap(Part):
    """The largest share of world capital in one sector, long plus short."""

    per_sector: PositiveShare


class Exposure(Part):
    """Limits on capital; what is None is not tested.

    ``max_leverage`` None means that the cap is 1 and that an instance without reported leverage counts as 1;
    where it is given, an instance without leverage is not eligible unless ``assume_leverage`` says what to take.
    """

    gross_budget: SideShares = SideShares()
    max_leverage: Multiple | None = None
    assume_leverage: Multiple | None = None
    sector_cap: SectorCap | None = None
    on_missing_sector: Literal["bucket", "exempt", "reject"] = "bucket"

    @property
    def leverage_cap(self) -> float:
        """Return ``max_leverage``, 1 where it is not given."""
        return 1.0 if self.max_leverage is None else self.max_leverage


class Constraints(Part):
    """What the selected set must satisfy; no correlation section means that correlation is not tested."""

    correlation: Correlation | None = None
    exposure: Exposure = Exposure()


class Hysteresis(Part):
    """How much distinct evidence a change needs, and how long (wall time) a state lasts at least."""

    promote_after: EvidenceCount = 1
    demote_after: EvidenceCount = 1
    min_dwell: Duration = timedelta(0)


class Weights(Part):
    """How a side's amount is split; ``max_weight`` None means twice the slot weight of the side."""

    scheme: Literal["slot", "inverse_vol", "erc", "score"] = "slot"
    max_weight: PositiveShare | None = None
    band: Share = 0.02


class Selection(Part):
    """Which instances should be active."""

    gates: Gate
    score: ScoreText
    topk: TopK
    constraints: Constraints = Constraints()
    hysteresis: Hysteresis = Hysteresis()
    min_score: Score = 0.0
    incumbent_bonus: Annotated[Score, Field(ge=0)] = 0.0
    solver: Literal["greedy", "exact"] = "greedy"
    weights: Weights = Weights()
    max_changes_per_apply: Annotated[int, Field(ge=1, le=MAX_SLOTS)] | None = None


class PolicyDocument(Part):
    """A whole policy; ``schedule`` None means that people evaluate by hand."""

    world: Annotated[str, Field(pattern=f"^{WORLD_ID_PATTERN}$")]
    version: Annotated[int, Field(ge=1, le=2**31 - 1)]
    data_currency: DataCurrency
    metrics: MetricsPolicy = MetricsPolicy()
    selection: Selection
    position_policy: PositionPolicy = PositionPolicy()
    risk: Risk = Risk()
    apply: ApplyPolicy = ApplyPolicy()
    schedule: Schedule | None = None
    tests: Annotated[tuple[JsonValue, ...], Field(max_length=100)] = ()
