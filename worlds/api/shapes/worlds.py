"""Shapes of worlds."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from qmtl_worlds.contracts.states import OpState
from worlds.api.shapes.closing import ClosingShape
from worlds.api.shapes.fields import Cursor, Line, PageSize, Reason, WorldId
from worlds.api.shapes.pins import PinShape

Description = Annotated[str, Meta(max_length=10_000)]
Labels = Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=32)]
LeaseMs = Annotated[int, Meta(ge=1_000, le=60_000)]
Level = Literal["reduce_only", "closed"]


class WorldCreate(Struct, kw_only=True):
    """A new world; members that are not named here are kept as metadata."""

    id: WorldId
    name: Line = ""
    description: Description = ""
    owner: Line = ""
    labels: Labels = []
    mode: Literal["paper", "live", "shadow", "replay"] = "paper"
    compat: Literal["", "qmtl"] = ""
    allow_live: bool = False
    lease_ms: LeaseMs = 5_000


class WorldEdit(Struct, kw_only=True):
    """Changes of a world; what is left out stays, members that are not named here are merged into the metadata."""

    id: WorldId | UnsetType = UNSET
    name: Line | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    owner: Line | UnsetType = UNSET
    labels: Labels | UnsetType = UNSET
    lease_ms: LeaseMs | UnsetType = UNSET
    on_lease_expiry: Level | UnsetType = UNSET
    circuit_level: Level | UnsetType = UNSET


class WorldQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which worlds to list."""

    owner: Line = ""
    state: Literal["ACTIVE", "SUSPENDED", "DELETED"] | None = None
    cursor: Cursor = ""
    limit: PageSize = 100


class WorldShape(Struct, kw_only=True):
    """A world as it is now; ``policy_version`` is the one in force."""

    id: str
    name: str
    description: str
    owner: str
    labels: list[str]
    mode: str
    compat: str
    allow_live: bool
    state: str
    op_state: OpState
    paused: bool
    lease_ms: int
    on_lease_expiry: str
    circuit_level: str
    generation: int
    sequence: int
    policy_version: int | None
    replay_now: datetime | None
    created_by: str
    created_at: datetime
    changed_at: datetime
    etag: str
    metadata: dict[str, Any]


class WorldDetail(WorldShape, kw_only=True):
    """A world with how far its gate is open, and the pin that a rollback left."""

    gate: ClosingShape
    pin: PinShape | None


class WorldPage(Struct, kw_only=True):
    """Some worlds by id; ``next_cursor`` is empty at the end."""

    worlds: list[WorldShape]
    next_cursor: str


class PolicyInForce(Struct, kw_only=True):
    """The version that decides, as its author wrote it and in words."""

    version: int
    checksum: str
    yaml: str
    text: str


class WorldDescription(Struct, kw_only=True):
    """A world and its policy in words; None where none is in force."""

    world: WorldDetail
    policy: PolicyInForce | None


class ReasonBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """Why."""

    reason: Reason = ""


class GateShape(Struct, kw_only=True):
    """What holds for the world as a whole after an operator's act."""

    world_id: str
    state: str
    paused: bool
    holds: list[HoldShape]


class HoldShape(Struct, kw_only=True):
    """A reason to keep gates from being open; ``scope`` is an instance, or empty for the whole world."""

    scope: str
    kind: str
    owner: str
    level: str
    reason: str
    placed_by: str
    placed_at: datetime
    expires_at: datetime | None
