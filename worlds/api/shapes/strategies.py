"""Shapes of strategies and their series."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from qmtl_worlds.contracts.ids import Side
from worlds.api.shapes.activation import OverrideShape
from worlds.api.shapes.fields import ObjectId, Reason, Time


class BindingBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """One strategy to bind; ``params`` are part of its identity."""

    strategy_id: ObjectId
    side: Side = Side.LONG
    params: dict[str, Any] | None = None
    sector: Annotated[str, Meta(max_length=64)] | None = None
    tags: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=32)] | None = None
    interval_seconds: Annotated[int, Meta(ge=1, le=31_622_400)] | None = None


class BindBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """Strategies to bind; a mere id binds its long side."""

    strategies: Annotated[list[str | BindingBody], Meta(max_length=10_000)]
    reason: Reason = ""


class BindAnswer(Struct, kw_only=True):
    """The strategies as named, each once, and what became of their instances."""

    strategies: list[str]
    bound: list[str]
    rebound: list[str]
    updated: list[str]
    unchanged: list[str]


class InstanceShape(Struct, kw_only=True):
    """One bound instance; ``fresh_until`` is when its data turns stale, ``override`` what operators laid over it."""

    strategy_id: str
    side: str
    params: dict[str, Any]
    sector: str
    tags: list[str]
    interval_seconds: int
    wanted: bool
    bound_at: datetime
    first_data: datetime | None
    data_end: datetime | None
    fresh_until: datetime | None
    override: OverrideShape | None


class BindingList(Struct, kw_only=True):
    """What is bound: the strategies once each, and every instance."""

    strategies: list[str]
    instances: list[InstanceShape]


class SideQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which side; both or the only one where it is left out."""

    side: Side | None = None


class UnbindAnswer(Struct, kw_only=True):
    """The instances that left."""

    withdrawn: list[str]


class RosterBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """The only strategies that are wanted as candidates."""

    strategies: Annotated[list[ObjectId], Meta(max_length=10_000)]


class RosterShape(Struct, kw_only=True):
    """The wanted strategies; None where all bound ones are."""

    strategies: list[str] | None


class ReturnsAnswer(Struct, kw_only=True):
    """What became of the bars; ``revision`` is None where nothing was stored."""

    world_id: str
    strategy_id: str
    side: str
    provenance: str
    appended: int
    unchanged: int
    revised: int
    revision: int | None
    data_end: datetime | None
    fresh_until: datetime | None


class ReportBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """Metrics that a Runner reports itself, by name with or without ``reported.``."""

    as_of: Time
    metrics: dict[str, float]
    revise: bool = False


class ReportAnswer(Struct, kw_only=True):
    """What became of the values."""

    stored: int
    unchanged: int
    revised: int
    revision: int | None


class MeasuredShape(Struct, kw_only=True):
    """One metric; ``value`` is None unless ``status`` is ok or stale."""

    value: float | None
    n_obs: int
    window_start: datetime | None
    window_end: datetime | None
    status: str


class MetricsShape(Struct, kw_only=True):
    """Every metric of one instance by name."""

    world_id: str
    strategy_id: str
    side: str
    as_of: datetime
    policy_version: int
    metrics: dict[str, MeasuredShape]
