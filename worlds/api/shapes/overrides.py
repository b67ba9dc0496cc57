"""Shapes of overrides and of the words of Runners."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from qmtl_worlds.contracts.ids import Side
from worlds.api.shapes.activation import ActivationShape, OverrideShape
from worlds.api.shapes.apply import Instances
from worlds.api.shapes.fields import ObjectId, Reason, Time
from worlds.api.shapes.gate import ReopeningShape

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Seconds = Annotated[int, Meta(ge=1, le=31_622_400)]


class OverrideBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to lay over one instance; see `set_override` for what each member does."""

    strategy_id: ObjectId
    side: Side = Side.LONG
    active: bool
    weight: Share | None = None
    freeze: bool | None = None
    drain: bool | None = None
    expires_at: Time | None = None
    ttl_seconds: Seconds | None = None
    reason: Reason


class OverriddenShape(ActivationShape, kw_only=True):
    """What the instance may do now, what lies over it, and the request that waits for a second person."""

    override: OverrideShape | None
    reopening: ReopeningShape | None


class AckBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """How far a Runner has heard, and which of its instances hold nothing any more."""

    client_id: ObjectId
    sequence: Count
    incarnation: Count | None = None
    hold_sequence: Count | None = None
    flat: Instances = []


class AckAnswer(Struct, kw_only=True):
    """Where the world is; waits that are over, and those that go on since the Runner is behind the switch."""

    world_id: str
    position: str
    released: list[str]
    waiting: list[str]
