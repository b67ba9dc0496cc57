"""Shapes of policies."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct

from worlds.api.shapes.fields import Reason, Version


class PolicyBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """A policy, as an object, as YAML text, or as one of QMTL's presets; exactly one of them."""

    policy: dict[str, Any] | None = None
    yaml: str | None = None
    preset: str | None = None
    preset_mode: str | None = None
    preset_version: str | None = None
    preset_overrides: dict[str, Any] | None = None
    overrides: dict[str, Any] | None = None
    reason: Reason = ""


class LintShape(Struct, kw_only=True):
    """A warning; it keeps nothing out."""

    code: str
    path: str
    line: int
    message: str


class PolicyStored(Struct, kw_only=True):
    """What became of a text."""

    world_id: str
    version: int
    checksum: str
    lint: list[LintShape]


class LintAnswer(Struct, kw_only=True):
    """A text without faults; nothing was stored."""

    version: int
    checksum: str
    lint: list[LintShape]


class PolicySummary(Struct, kw_only=True):
    """One stored version."""

    version: int
    checksum: str
    in_force: bool
    author: str
    created_at: datetime


class PolicyList(Struct, kw_only=True):
    """All versions, newest first."""

    world_id: str
    in_force: int | None
    policies: list[PolicySummary]


class PolicyShape(Struct, kw_only=True):
    """One version in full: the author's text, and the document with all defaults."""

    version: int
    checksum: str
    in_force: bool
    author: str
    created_at: datetime
    yaml: str
    policy: dict[str, Any]
    lint: list[LintShape]


class DiffQuery(Struct, kw_only=True, forbid_unknown_fields=True, rename={"old": "from", "new": "to"}):
    """Which two versions to compare."""

    old: Version
    new: Version


class ChangeShape(Struct, kw_only=True):
    """One difference between two versions."""

    path: str
    before: Any
    after: Any
    kind: str


class DiffShape(Struct, kw_only=True, rename={"old": "from", "new": "to"}):
    """What changes from one version to the other, defaults filled in."""

    old: int
    new: int
    changes: list[ChangeShape]


class SetDefaultBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which version shall be in force."""

    version: Version | None = None
    reason: Reason = ""


class SetDefaultQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """The version, as QMTL's clients send it."""

    v: Version | None = None


class PolicyChangeShape(Struct, kw_only=True):
    """A request to put a version in force."""

    id: int
    world_id: str
    version: int
    state: str
    requested_by: str
    requested_at: datetime
    decided_by: str
    decided_at: datetime | None
