"""Shape of how far a world's gate is open."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from qmtl_worlds.contracts.activation import GateLevel


class ClosingShape(Struct, kw_only=True):
    """How far the gate of the world is open, and whether that is so everywhere.

    ``committed_at`` is when the level came into force, ``effective_at`` when the last permission from before has died.
    """

    level: GateLevel
    reason: str
    committed_at: datetime | None
    effective_at: datetime | None
    effective: bool
    acknowledged: bool | None
