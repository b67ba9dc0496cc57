"""What lies over the active set of a world, and what somebody should look at: overrides, the pin, alerts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import Case, When

from qmtl_worlds.contracts.acts import Grants
from qmtl_worlds.lifecycle.override import DRAIN_OWNER, FREEZE_OWNER
from worlds.admin.alert_pages import PERMISSION, advice_for
from worlds.admin.badges import Badge, badge
from worlds.admin.overrides import cap_words
from worlds.admin.scoped import act_address, page_address
from worlds.admin.words import ago, moment, person_name
from worlds.models import Alert, GateHold, Override, Pin, World
from worlds.selectors import find_pin

ALERTS_SHOWN: Final = 8
_BY_SEVERITY: Final = ("critical", "warning", "info")


@dataclass(frozen=True, slots=True)
class OverrideView:
    """One instance that people laid something over; ``end`` is the address of the button, empty where not offered."""

    scope: str
    allows: str
    until: str
    until_at: str
    stays_closed: bool
    who: str
    since: str
    why: str
    end: str


@dataclass(frozen=True, slots=True)
class AlertView:
    """One open alert; ``acknowledge`` is the address of the button, empty where it is not offered."""

    alert: Alert
    severity: Badge
    since: str
    seen_by: str
    advice: str
    address: str
    acknowledge: str


@dataclass(frozen=True, slots=True)
class PinView:
    """What pins the set."""

    pin: Pin
    who: str
    since: str
    until: str


def overrides_view(
    rows: Iterable[Override], holds: Iterable[GateHold], *, grants: Grants, now: datetime
) -> tuple[OverrideView, ...]:
    """Return what lies over the instances at ``now``."""
    exits_only = {hold.scope for hold in holds if hold.owner in {FREEZE_OWNER, DRAIN_OWNER}}
    return tuple(
        OverrideView(
            scope=row.scope,
            allows=allowed_words(row.cap, exits_only=row.scope in exits_only),
            until=ago(row.expires_at, now=now) if row.expires_at else "",
            until_at=moment(row.expires_at),
            stays_closed=row.stays_closed,
            who=person_name(row.set_by),
            since=ago(row.set_at, now=now),
            why=row.reason,
            end=act_address(row, "end") if grants.allows("override.request", row.world_id) else "",
        )
        for row in rows
    )


def allowed_words(cap: float, *, exits_only: bool) -> str:
    """Return what an override leaves of an instance."""
    if not exits_only or cap <= 0:
        return cap_words(cap)
    return "exits only" if cap >= 1 else f"exits only, {cap_words(cap)}"


def pin_view(world: World, *, now: datetime) -> PinView | None:
    """Return what pins the set of the world, None where nothing does."""
    pin = find_pin(world.id)
    if pin is None or (pin.expires_at is not None and pin.expires_at <= now):
        return None
    until = f"until {moment(pin.expires_at)}" if pin.expires_at else "until somebody unpins it, or another policy"
    return PinView(pin, person_name(pin.pinned_by), ago(pin.pinned_at, now=now), until)


def alerts_view(world: World, *, grants: Grants, now: datetime) -> tuple[AlertView, ...]:
    """Return the first open alerts of the world, the gravest first, of equals the newest."""
    order = Case(
        *(When(severity=name, then=place) for place, name in enumerate(_BY_SEVERITY)), default=len(_BY_SEVERITY)
    )
    rows = Alert.objects.filter(world=world, cleared_at=None).order_by(order, "-pk")[:ALERTS_SHOWN]
    may = grants.allows(PERMISSION, world.id)
    return tuple(
        AlertView(
            alert=row,
            severity=badge(row.severity),
            since=ago(row.raised_at, now=now),
            seen_by=person_name(row.acknowledged_by),
            advice=advice_for(row),
            address=page_address(row),
            acknowledge=act_address(row, "acknowledge") if may and row.acknowledged_at is None else "",
        )
        for row in rows
    )
