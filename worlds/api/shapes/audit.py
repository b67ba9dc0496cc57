"""Shapes of the audit."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct

from worlds.api.shapes.fields import Cursor, Line, ObjectId, PageSize, Time


class AuditQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which events; empty means all."""

    kind: Line = ""
    actor: Line = ""
    run_id: ObjectId | None = None
    request_id: ObjectId | None = None
    since: Time | None = None
    cursor: Cursor = ""
    limit: PageSize = 100


class EventShape(Struct, kw_only=True):
    """One transition, with its place in the hash chain."""

    chain: str
    seq: int
    kind: str
    actor: str
    reason: str
    subject: str
    before: Any
    after: Any
    run_id: str
    policy_version: int | None
    request_id: str
    at: datetime
    prev_hash: str
    hash: str


class EventPage(Struct, kw_only=True):
    """Events, newest first."""

    events: list[EventShape]
    next_cursor: str
