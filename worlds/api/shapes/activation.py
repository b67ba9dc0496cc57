"""Shapes of activations."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from qmtl_worlds.contracts.activation import GateLevel
from qmtl_worlds.contracts.ids import Side
from worlds.api.shapes.fields import ObjectId


class ActivationQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Whose activation; the whole set where no strategy is named. ``consistent`` reads the record itself."""

    strategy_id: ObjectId | None = None
    side: Side = Side.LONG
    consistent: bool = False
    client_id: ObjectId | None = None


class ActivationShape(Struct, kw_only=True):
    """What one instance may do now; constant for an ETag."""

    world_id: str
    strategy_id: str
    side: str
    active: bool
    weight: float
    freeze: bool
    drain: bool
    gate: GateLevel
    mode: str
    effective_mode: str
    reason: str
    etag: str
    generation: int
    sequence: int
    run_id: str
    ts: datetime
    state_hash: str
    on_lease_expiry: GateLevel


class OverrideShape(Struct, kw_only=True):
    """What an operator laid over one instance; ``stays_closed``: its time is over, but the instance is not selected."""

    strategy_id: str
    side: str
    cap: float
    freeze: bool
    drain: bool
    reason: str
    set_by: str
    set_at: datetime
    expires_at: datetime | None
    stays_closed: bool


class WholeSetShape(Struct, kw_only=True):
    """Every instance that is bound or active; it authorizes no order."""

    world_id: str
    generation: int
    sequence: int
    gate: GateLevel
    reason: str
    state_hash: str
    etag: str
    entries: list[ActivationShape]
    overrides: list[OverrideShape]


class StateHashShape(Struct, kw_only=True):
    """Whoever has the same hash has the same state."""

    state_hash: str
