"""Shapes of gates: what people set, kill and ask to have opened again."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from qmtl_worlds.contracts.activation import GateLevel
from worlds.api.shapes.apply import InstanceBody
from worlds.api.shapes.fields import Reason, Time


class KillBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to kill: one instance, or the whole world."""

    scope: Literal["world"] | InstanceBody = "world"
    reason: Reason = ""


class KillAnswer(Struct, kw_only=True):
    """The gates are closed; ``recorded`` is false while only a file says so, until the database takes the row."""

    world_id: str
    scope: str
    recorded: bool


class GateBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to set a gate to, and until when."""

    level: GateLevel
    scope: Literal["world"] | InstanceBody = "world"
    reason: Reason = ""
    expires_at: Time | None = None


class ReopeningBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to ask for: that a kill be lifted."""

    subject: Literal["kill"]
    scope: Literal["world"] | InstanceBody = "world"
    reason: Reason = ""


class ReopeningShape(Struct, kw_only=True):
    """A request to open again what was closed; ``scope`` is an instance, or empty for the whole world."""

    id: int
    world_id: str
    subject: str
    scope: str
    state: str
    second_person: bool
    parameters: dict[str, Any]
    requested_by: str
    requested_at: datetime
    reason: str
    decided_by: str
    decided_at: datetime | None


class ReopeningsShape(Struct, kw_only=True):
    """The requests of a world, newest first, at most the last hundred."""

    reopenings: list[ReopeningShape]
