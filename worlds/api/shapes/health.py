"""Shapes of the signs of life."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class PartShape(Struct, kw_only=True):
    """One thing that the server needs; ``beat_at`` is when a process was last alive."""

    ok: bool
    detail: str = ""
    beat_at: datetime | None = None


class HealthShape(Struct, kw_only=True):
    """Whether all that the server needs is there."""

    status: str
    version: str
    parts: dict[str, PartShape]
