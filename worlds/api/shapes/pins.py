"""Shapes of pins."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class PinShape(Struct, kw_only=True):
    """Increases do not start by themselves; ``generation`` is the one that somebody went back to."""

    generation: int
    policy_version: int | None
    reason: str
    pinned_by: str
    pinned_at: datetime
    expires_at: datetime | None


class UnpinAnswer(Struct, kw_only=True):
    """The world's set is not pinned any more."""

    world_id: str
    pinned: bool
