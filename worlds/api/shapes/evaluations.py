"""Shapes of decisions and the runs that made them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from qmtl_worlds.contracts.ids import Side
from worlds.api.shapes.activation import OverrideShape
from worlds.api.shapes.fields import Cursor, InstanceText, ObjectId, PageSize, Reason, Time

Correlation = Annotated[float, Meta(ge=-1, le=1)]


class PairShape(Struct, kw_only=True, forbid_unknown_fields=True):
    """The correlation of two instances."""

    a: InstanceText
    b: InstanceText
    rho: Correlation


class EvaluateBody(Struct, kw_only=True):
    """What to evaluate; members that are not named here are ignored.

    A ``policy``, ``metrics`` and ``correlations`` in the body are for runs that are not recorded.
    """

    as_of: Time | None = None
    run_id: ObjectId | None = None
    dry_run: bool = False
    record: bool = False
    metrics: dict[InstanceText, dict[str, float]] | None = None
    correlations: list[PairShape] | dict[str, Any] | None = None
    policy: dict[str, Any] | None = None
    series: Any = None
    previous: Any = None
    reason: Reason = ""


class ViolationShape(Struct, kw_only=True):
    """A rule that the present set breaks."""

    code: str
    key: str
    rule: str
    value: float | None
    limit: float | None


class DecisionShape(Struct, kw_only=True):
    """A decision; instances are ``strategy_id|side``, lists are best rank first."""

    world_id: str
    policy_version: int
    policy_checksum: str
    as_of: str
    verdict: str
    effective_mode: str
    reason: str
    topk: list[str]
    active: list[str]
    promote: list[str]
    demote: list[str]
    hold: list[str]
    queued: list[str]
    weights: dict[str, float]
    reduced: dict[str, float]
    has_plan: bool
    reasons: dict[str, str]
    ranks: dict[str, int]
    contribution: dict[str, float | None]
    violations: list[ViolationShape]
    certificate: dict[str, Any]
    weighting: str
    counts: dict[str, int]


class EvaluationShape(DecisionShape, kw_only=True):
    """A decision, the plan that would carry it out, and the run that made it (empty where it is not recorded)."""

    evaluation_run_id: str
    evaluation_run_url: str
    inputs_digest: str
    plan: dict[str, Any] | None
    plan_hash: str


class RunShape(Struct, kw_only=True):
    """One evaluation run; ``state`` is running, or its verdict."""

    world_id: str
    run_id: str
    kind: str
    state: str
    as_of: datetime
    policy_version: int | None
    policy_checksum: str
    engine_version: str
    inputs_digest: str
    decision_digest: str
    instance_count: int
    error: str
    actor: str
    reason: str
    started_at: datetime
    finished_at: datetime | None
    url: str


class RunPage(Struct, kw_only=True):
    """Runs, newest first."""

    runs: list[RunShape]
    next_cursor: str


class RunDetail(RunShape, kw_only=True):
    """A run and what it decided; None while it is running and after an error."""

    decision: DecisionShape | None


class StrategyRunDetail(RunShape, kw_only=True):
    """A run and what it decided about one strategy, by side."""

    decisions: dict[str, ExplanationShape]


class PageQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which page."""

    cursor: Cursor = ""
    limit: PageSize = 100


class DecideQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """The decision as of when; the newest where it is left out."""

    as_of: Time | None = None


class DecideShape(DecisionShape, kw_only=True):
    """The decision in force; it authorizes no order. ``etag`` changes only when the decision does."""

    ttl: str
    etag: str
    run_id: str


class ExplainQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Whose decision to explain, in which run; the newest where it is left out."""

    strategy_id: ObjectId
    side: Side = Side.LONG
    run_id: ObjectId | None = None


class MetricShape(Struct, kw_only=True):
    """A metric as the decision saw it; ``value`` is None unless ``status`` is ok."""

    value: float | None
    status: str


class ExplanationShape(Struct, kw_only=True):
    """Why an instance is active or not: the ordered trace, and the same in words."""

    strategy_id: str
    side: str
    outcome: str
    reason: str
    eligibility: str
    was_active: bool
    weight_before: float
    weight: float
    rank: int | None
    score: float | None
    metrics: dict[str, MetricShape]
    steps: list[dict[str, Any]]
    text: str


class ExplainShape(ExplanationShape, kw_only=True):
    """An explanation, the run that it is about, and what operators laid over the instance since."""

    world_id: str
    run_id: str
    as_of: datetime
    policy_version: int | None
    override: OverrideShape | None


class EvaluationPending(Struct, kw_only=True):
    """A run that goes on; the same request again goes on waiting for it."""

    evaluation_run_id: str
    evaluation_run_url: str
    state: str
