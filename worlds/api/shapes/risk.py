"""Shapes of what a world is worth, its risk circuit and its alerts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from worlds.api.shapes.fields import Cursor, PageSize, Reason, Time


class SnapshotBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """What the portfolio was worth: gross notional over equity and VaR (a positive fraction) are optional."""

    ts: Time
    equity: float
    leverage: float | None = None
    var_95: float | None = None


class EquityBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """Snapshots, oldest first."""

    snapshots: Annotated[list[SnapshotBody], Meta(min_length=1, max_length=1_000)]


class EquityAnswer(Struct, kw_only=True):
    """What was stored, and how the circuit stands after it."""

    world_id: str
    stored: int
    unchanged: int
    circuit: CircuitShape


class LimitsShape(Struct, kw_only=True):
    """What the policy in force allows the world to lose and carry; None tests nothing."""

    max_drawdown: float | None
    var_95: float | None
    max_leverage: float | None
    confirm_samples: int
    warn_at: float


class CircuitShape(Struct, kw_only=True):
    """The risk circuit: ``incident`` names the trip that is latched, empty where none is.

    Drawdown, VaR and leverage are the last that were measured; after ``fresh_until`` the input of snapshots is stale.
    """

    tripped: bool
    incident: str
    tripped_at: datetime | None
    limits: LimitsShape | None
    high_water: float | None
    high_water_at: datetime | None
    drawdown: float | None
    var_95: float | None
    leverage: float | None
    last_ts: datetime | None
    fresh_until: datetime | None


class ResetBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """Why, and whether drawdowns go on counting from the old high-water mark or from the present equity."""

    high_water_mark: Literal["keep", "reset"]
    reason: Reason


class AlertQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which alerts."""

    open: bool = False
    cursor: Cursor = ""
    limit: PageSize = 100


class AlertShape(Struct, kw_only=True):
    """One alert; ``subject`` is what its kind is about, ``advice`` what to do."""

    id: int
    kind: str
    subject: str
    severity: str
    text: str
    advice: str
    facts: dict[str, Any]
    sequence: int
    raised_at: datetime
    cleared_at: datetime | None
    acknowledged_by: str
    acknowledged_at: datetime | None


class AlertPage(Struct, kw_only=True):
    """Alerts, newest first, and what never happened although a plan said so."""

    alerts: list[AlertShape]
    next_cursor: str
    promotion_fail_total: int
    demotion_fail_total: int
