"""The sections of the document that say how a selection is carried out: positions, risk, apply, schedule."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from qmtl_worlds.policy.fields import MAX_SLOTS, Duration, Multiple, Part, PositiveShare, Share


class PositionPolicy(Part):
    """What a Runner does with positions; ``carry`` leaves them."""

    on_promote: Literal["carry", "flat_then_enable"] = "carry"
    on_demote: Literal["carry", "disable_then_flat"] = "carry"


class Circuit(Part):
    """Limits that halt the world; what is None is not tested. ``warn_at`` is a share of the limit."""

    max_drawdown: PositiveShare | None = None
    var_95: PositiveShare | None = None
    max_leverage: Multiple | None = None
    confirm_samples: Annotated[int, Field(ge=1, le=100)] = 2
    warn_at: PositiveShare = 0.8


class LadderStep(Part):
    """From ``drawdown`` on, an instance's weight is scaled to ``scale``; 0 demotes it."""

    drawdown: PositiveShare
    scale: Share


class Risk(Part):
    """The world's risk circuit, and the ladder of each instance (drawdowns rise, scales fall)."""

    circuit: Circuit | None = None
    ladder: Annotated[tuple[LadderStep, ...], Field(max_length=10)] = ()

    @model_validator(mode="after")
    def _ladder_descends(self) -> Self:
        steps = zip(self.ladder, self.ladder[1:], strict=False)
        if any(a.drawdown >= b.drawdown or a.scale <= b.scale for a, b in steps):
            raise PydanticCustomError("contradiction", "drawdowns must rise and scales must fall", {"field": "ladder"})
        return self


class AutoLimits(Part):
    """The largest plan that ``mode: auto`` carries out without asking; ``max_gross_shift`` is a share of capital."""

    max_changes: Annotated[int, Field(ge=1, le=MAX_SLOTS)] = 3
    max_gross_shift: PositiveShare = 0.10


class ApplyPolicy(Part):
    """Who must approve what increases risk: ``approvals`` distinct people, within ``expiry`` (wall time)."""

    mode: Literal["approval", "auto"] = "approval"
    approvals: Annotated[int, Field(ge=1, le=10)] = 1
    expiry: Duration = timedelta(hours=24)
    auto: AutoLimits = AutoLimits()


class EverySchedule(Part):
    """Evaluate at multiples of ``every`` since 1970-01-01T00:00Z, plus ``offset``."""

    every: Duration
    offset: Duration = timedelta(0)

    @model_validator(mode="after")
    def _within_period(self) -> Self:
        if not timedelta(minutes=1) <= self.every or self.offset >= self.every:
            raise PydanticCustomError("contradiction", "every must be at least 1m, and offset less than every")
        return self


class BarCloseSchedule(Part):
    """Evaluate ``delay`` after each close."""

    at: Literal["bar_close"]
    delay: Duration = timedelta(0)


def _schedule_kind(value: Any) -> str:
    return "<every>" if isinstance(value, EverySchedule) or (isinstance(value, dict) and "every" in value) else "<at>"


Schedule = Annotated[
    Annotated[EverySchedule, Tag("<every>")] | Annotated[BarCloseSchedule, Tag("<at>")],
    Discriminator(_schedule_kind),
]
