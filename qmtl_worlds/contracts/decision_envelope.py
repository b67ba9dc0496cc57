"""The JSON form of a decision, as the API and the audit carry it."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class Certificate(TypedDict):
    """How good the selection is: its value, what no selection can exceed, and the gap in percent of that bound.

    ``ms`` is the solver's time; it is left out of canonical bytes, since it differs between two equal runs.
    """

    solver: str
    status: str
    value: float
    upper_bound: float
    gap_pct: float
    ms: NotRequired[float]


class Violation(TypedDict):
    """A rule that the present active set breaks; ``key`` is empty for a rule of the whole set."""

    code: str
    key: str
    rule: str
    value: float | None
    limit: float | None


class DecisionEnvelope(TypedDict):
    """One evaluation; instances are named by ``strategy_id|side``, lists are best rank first.

    ``topk`` is the selection without memory, ``active`` the membership after the plan, ``weights`` its shares of
    capital; ``reduced`` is the set after the part of the plan that waits for nobody. ``ranks`` names the first hundred
    and every member; the record holds all of them.
    """

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
    violations: list[Violation]
    certificate: Certificate
    weighting: str
    counts: dict[str, int]
