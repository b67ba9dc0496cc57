"""Shapes of apply runs and generations."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from qmtl_worlds.contracts.ids import Side
from worlds.api.shapes.fields import Digest, Generation, InstanceText, ObjectId, Reason, Time


class InstanceBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """An instance, in two words."""

    strategy_id: ObjectId
    side: Side = Side.LONG


Instances = Annotated[list[InstanceText | InstanceBody], Meta(max_length=10_000)]


class HandPlan(Struct, kw_only=True, forbid_unknown_fields=True):
    """Parts of an evaluation's plan, named by hand."""

    activate: Instances = []
    deactivate: Instances = []


class ApplyBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to apply: an evaluation's plan (the newest run's where none is named), or parts of it."""

    run_id: ObjectId
    evaluation_run_id: ObjectId | None = None
    plan: HandPlan | None = None
    plan_hash: Digest | None = None
    reason: Reason = ""


class ApplyAnswer(Struct, kw_only=True):
    """The run that answers for a request; ``active`` are the instances that its plan leads to."""

    ok: bool
    run_id: str
    phase: str
    kind: str
    active: list[str]
    generation: int
    reduce_run_id: str | None
    plan_hash: str
    replayed: bool


class ApprovalShape(Struct, kw_only=True):
    """One person's approval."""

    approver: str
    reason: str
    created_at: datetime


class ChangeOfWeight(Struct, kw_only=True):
    """What a plan does to one instance; weight 0 is not in the set."""

    key: str
    kind: str
    reason: str
    before: float
    after: float


class ApplyRunShape(Struct, kw_only=True):
    """An apply run in full."""

    world_id: str
    run_id: str
    kind: str
    phase: str
    phase_reason: str
    phase_changed_at: datetime
    base_generation: int
    target_generation: int | None
    rollback_to: int | None
    evaluation_run_id: str | None
    reduce_run_id: str | None
    policy_version: int
    plan_hash: str
    changes: list[ChangeOfWeight]
    active: list[str]
    auto: bool
    approvals_needed: int
    approvals: list[ApprovalShape]
    approval_expires_at: datetime | None
    drain_until: datetime | None
    requested_by: str
    requested_at: datetime
    reason: str
    result: dict[str, Any] | None


class ApproveBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """The plan that the approver looked at."""

    plan_hash: Digest
    reason: Reason = ""


class RollbackBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which generation to go back to; the one that an apply run made, or by number."""

    run_id: ObjectId
    to_generation: Generation | None = None
    to_run_id: ObjectId | None = None
    pin_expires_at: Time | None = None
    reason: Reason


class EntryShape(Struct, kw_only=True):
    """One member of a set, and which evaluation chose it when."""

    strategy_id: str
    side: str
    weight: float
    evaluation_run_id: str
    promoted_at: datetime


class GenerationSummary(Struct, kw_only=True):
    """One committed set."""

    generation: int
    content_hash: str
    run_id: str
    entry_count: int
    created_at: datetime


class GenerationPage(Struct, kw_only=True):
    """Committed sets, newest first."""

    generations: list[GenerationSummary]
    next_cursor: str


class GenerationShape(GenerationSummary, kw_only=True):
    """A committed set with its members."""

    world_id: str
    entries: list[EntryShape]
