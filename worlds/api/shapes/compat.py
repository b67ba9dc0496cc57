"""Shapes of what QMTL's clients send and read; members that are not named here are ignored."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from qmtl_worlds.contracts.ids import Side
from worlds.api.shapes.fields import ObjectId, WorldId

Seconds = Annotated[int, Meta(ge=1, le=31_622_400)]
Epoch = Annotated[int, Meta(ge=0, le=253_402_300_799)]
Topic = Annotated[str, Meta(pattern="^(activation|policy)$")]
Told = Annotated[str, Meta(max_length=200)]


class HistoryBody(Struct, kw_only=True):
    """How far a strategy's data reaches; bounds are seconds since 1970. Without bounds ``as_of`` is the end."""

    strategy_id: ObjectId
    node_id: Annotated[str, Meta(max_length=200)] = ""
    interval: Seconds | None = None
    rows: Annotated[int, Meta(ge=0)] | None = None
    coverage_bounds: tuple[Epoch, Epoch] | None = None
    conformance_flags: dict[str, Any] | None = None
    conformance_warnings: list[Told] | None = None
    dataset_fingerprint: Told | None = None
    as_of: Told | None = None
    artifact: dict[str, Any] | None = None


class HistoryPage(Struct, kw_only=True):
    """The coverages that clients told, oldest first."""

    entries: list[dict[str, Any]]
    latest: dict[str, Any] | None


class SubscribeBody(Struct, kw_only=True):
    """What to hear of, about which strategy of which world."""

    world_id: WorldId
    topics: Annotated[tuple[Topic, ...], Meta(min_length=1, max_length=2)] = ("activation",)
    strategy_id: ObjectId | None = None


class Subscription(Struct, kw_only=True):
    """Where to listen, with which short-lived token, and where to ask if that fails."""

    stream_url: str
    token: str
    topics: list[str]
    expires_at: datetime
    fallback_url: str


class ClientPlan(Struct, kw_only=True):
    """A plan as QMTL's clients write it: strategies by name."""

    activate: Annotated[list[Told], Meta(max_length=10_000)] = []
    deactivate: Annotated[list[Told], Meta(max_length=10_000)] = []


class ClientApply(Struct, kw_only=True):
    """What a client wants carried out: a plan, what these metrics lead to, or what is stored."""

    run_id: ObjectId
    plan: ClientPlan | None = None
    metrics: dict[ObjectId, dict[str, Any]] | None = None
    policy: Any = None


class ClientEvaluate(Struct, kw_only=True):
    """What a client wants evaluated; with metrics they are stored and the run is recorded."""

    as_of: Told | None = None
    run_id: ObjectId | None = None
    strategy_id: ObjectId | None = None
    metrics: dict[ObjectId, dict[str, Any]] | None = None
    policy: Any = None


class ClientActivation(Struct, kw_only=True):
    """What a client wants of one instance; ``effective_mode``, ``run_id`` and ``ts`` grant nothing."""

    strategy_id: ObjectId
    active: bool
    side: Side = Side.LONG
    weight: Annotated[float, Meta(ge=0, le=1)] | None = None
    freeze: bool | None = None
    drain: bool | None = None
    effective_mode: Annotated[str, Meta(pattern="^(validate|compute-only|paper|live|shadow)$")] | None = None
    run_id: Told | None = None
    ts: Any = None


class RunMetrics(Struct, kw_only=True):
    """What a run judged a strategy by, in QMTL's sections; all that we know stands under ``returns``."""

    returns: dict[str, float]
    sample: dict[str, float]
    risk: dict[str, float]
    robustness: dict[str, float]
    diagnostics: dict[str, float]


class RunRevision(Struct, kw_only=True):
    """One revision of a run."""

    revision: int
    recorded_at: datetime
    payload: dict[str, Any]
