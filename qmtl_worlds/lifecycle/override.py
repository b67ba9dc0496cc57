"""An operator's override: a layer over the applied set that can only take away."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.lifecycle.holds import Hold, HoldKind, make_hold

NO_CAP: Final = 1.0
FREEZE_OWNER: Final = "override:freeze"
DRAIN_OWNER: Final = "override:drain"
"""Who owns the freeze of one instance; a drain is a freeze that says to let open orders finish."""


@dataclass(frozen=True, slots=True)
class Override:
    """What is laid over one instance until somebody or its expiry ends it.

    ``cap`` is a share of world capital; 0 makes the instance inactive, so that it leaves the set, 1 caps nothing.
    ``freeze`` and ``drain`` let exits only through while it stays in the set. It does not end by itself: the tick ends
    it after ``expires_at`` (None: never), which is a visible change.
    """

    key: InstanceKey
    cap: float = NO_CAP
    freeze: bool = False
    drain: bool = False
    expires_at: datetime | None = None

    @property
    def takes_away(self) -> bool:
        """Tell whether it does anything at all."""
        return self.freeze or self.drain or not self.cap >= NO_CAP


class Ending(StrEnum):
    """What becomes of an override at a time."""

    LASTS = "lasts"
    REOPENS = "reopens"
    STAYS_CLOSED = "stays_closed"


def override_holds(override: Override) -> frozenset[Hold]:
    """Return the holds of an override on its instance's gate; none for a mere cap."""
    key = override.key
    holds = (
        (not override.cap > 0, make_hold(HoldKind.OVERRIDE, key.text, key=key)),
        (override.freeze, make_hold(HoldKind.FREEZE, FREEZE_OWNER, key=key)),
        (override.drain, make_hold(HoldKind.FREEZE, DRAIN_OWNER, key=key)),
    )
    return frozenset(hold for wanted, hold in holds if wanted)


def loosens(wanted: Override, present: Override | None) -> bool:
    """Tell whether ``wanted`` would ever permit what ``present`` does not, so that it takes a second person.

    To end sooner is to loosen too. Over nothing, every override only takes away.
    """
    if present is None:
        return False
    freed = (present.freeze and not wanted.freeze) or (present.drain and not wanted.drain)
    return freed or not wanted.cap <= present.cap or _ends_sooner(wanted, present)


def ending(override: Override, *, now: datetime, selected: bool | None) -> Ending:
    """Return what becomes of an override at ``now``.

    ``selected`` tells whether the instance is in the newest ok Final set (None: there is none). Only then it reopens;
    else it stays closed until a person ends it, and somebody is told.
    """
    if override.expires_at is None or now < override.expires_at:
        return Ending.LASTS
    return Ending.REOPENS if selected else Ending.STAYS_CLOSED


def _ends_sooner(wanted: Override, present: Override) -> bool:
    if wanted.expires_at is None:
        return False
    return present.expires_at is None or wanted.expires_at < present.expires_at
