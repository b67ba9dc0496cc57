"""An operator's override: a layer over the applied set that can only take away."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.lifecycle.holds import Hold, HoldKind, make_hold


@dataclass(frozen=True, slots=True)
class Override:
    """One instance capped at ``cap`` (share of world capital, 0 = inactive) until somebody or its expiry ends it.

    It does not end by itself: the tick ends it after ``expires_at`` (None: never), which is a visible change.
    """

    key: InstanceKey
    cap: float
    reason: str
    actor: str
    set_at: datetime
    expires_at: datetime | None = None


class Ending(StrEnum):
    """What becomes of an override at a time."""

    LASTS = "lasts"
    REOPENS = "reopens"
    STAYS_CLOSED = "stays_closed"


def override_hold(override: Override) -> Hold | None:
    """Return the hold of an override that makes its instance inactive; None for a mere cap."""
    if override.cap > 0:
        return None
    return make_hold(HoldKind.OVERRIDE, override.key.text, key=override.key)


def capped(weight: float, override: Override | None) -> float:
    """Return the weight that is left under an override."""
    return weight if override is None else min(weight, override.cap)


def is_raising(*, wanted: float, permitted: float) -> bool:
    """Tell whether a wanted weight is more than is permitted now, so that it takes an approved run and no layer."""
    return not wanted <= permitted


def ending(override: Override, *, now: datetime, selected: bool | None) -> Ending:
    """Return what becomes of an override at ``now``.

    ``selected`` tells whether the instance is in the newest ok Final set (None: there is none). Only then it reopens;
    else it stays closed until a person ends it, and somebody is told.
    """
    if override.expires_at is None or now < override.expires_at:
        return Ending.LASTS
    return Ending.REOPENS if selected else Ending.STAYS_CLOSED
