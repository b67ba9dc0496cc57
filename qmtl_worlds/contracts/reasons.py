"""The words in which a decision explains itself; codes are forever."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """One step of an evaluation, in the order in which they are taken."""

    HOLD = "hold"
    CURRENCY = "currency"
    HISTORY = "history"
    GATES = "gates"
    SCORE = "score"
    CONSTRAINTS = "constraints"
    TOPK = "topk"
    HYSTERESIS = "hysteresis"
    WEIGHTS = "weights"


class StepVerdict(StrEnum):
    """What a stage says of one instance; skipped where an earlier stage has settled it."""

    PASS = "pass"  # noqa: S105 - a verdict, no secret
    FAIL = "fail"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


class Outcome(StrEnum):
    """What the run does with one instance."""

    PROMOTE = "promote"
    HOLD = "hold"
    DEMOTE = "demote"
    QUEUED = "queued"
    OUT = "out"


class DecisionVerdict(StrEnum):
    """What a run is worth; inconclusive blocks whatever raises risk, error changes nothing."""

    OK = "ok"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


class EffectiveMode(StrEnum):
    """What a decision may be used for."""

    COMPUTE_ONLY = "compute-only"
    VALIDATE = "validate"
    PAPER = "paper"
    LIVE = "live"
    SHADOW = "shadow"
    REPLAY = "replay"


class Reason(StrEnum):
    """Why a stage, an instance or a whole run came out as it did."""

    OK = "ok"
    NOT_REACHED = "not_reached"
    # hold, currency, history
    HELD = "held"
    STALE = "stale"
    NO_DATA = "no_data"
    SHORT_HISTORY = "short_history"
    # gates and score
    GATE_FAILED = "gate_failed"
    METRIC_INSUFFICIENT = "metric_insufficient"
    METRIC_UNDEFINED = "metric_undefined"
    METRIC_STALE = "metric_stale"
    METRIC_MISSING = "metric_missing"
    DIVISION_BY_ZERO = "division_by_zero"
    NOT_FINITE = "not_finite"
    SCORE_BELOW_MINIMUM = "score_below_minimum"
    # constraints, in the order in which they are tested
    SECTOR_MISSING = "sector_missing"
    LEVERAGE_MISSING = "leverage_missing"
    TOTAL_FULL = "total_full"
    SIDE_FULL = "side_full"
    CORRELATED = "correlated"
    CORRELATION_UNKNOWN = "correlation_unknown"
    SECTOR_CAP = "sector_cap"
    GROSS_BUDGET = "gross_budget"
    LEVERAGE_CAP = "leverage_cap"
    NOT_OPTIMAL = "not_optimal"
    # hysteresis
    PROMOTED = "promoted"
    KEPT = "kept"
    KEPT_BY_STREAK = "kept_by_streak"
    KEPT_BY_DWELL = "kept_by_dwell"
    KEPT_UNKNOWN = "kept_unknown"
    STREAK_SHORT = "streak_short"
    COOLING_DOWN = "cooling_down"
    NO_ROOM = "no_room"
    KEPT_OVER_CAPS = "kept_over_caps"
    QUEUED_CHANGE_BUDGET = "queued_change_budget"
    OUTRANKED = "outranked"
    # weights
    SCALED_SIDE = "scaled_side"
    SCALED_SECTOR = "scaled_sector"
    SCALED_LEVERAGE = "scaled_leverage"
    MAX_WEIGHT = "max_weight"
    NO_RAISE = "no_raise"
    WITHIN_BAND = "within_band"
    # the run as a whole
    INCONCLUSIVE = "inconclusive"
    CIRCUIT_OPEN = "circuit_open"
    NOTHING_FRESH = "nothing_fresh"
    NO_APPLIED_SET = "no_applied_set"
    NO_POLICY = "no_policy"


SCREENED = frozenset(
    {
        Reason.TOTAL_FULL,
        Reason.SIDE_FULL,
        Reason.CORRELATED,
        Reason.CORRELATION_UNKNOWN,
        Reason.SECTOR_CAP,
        Reason.GROSS_BUDGET,
        Reason.LEVERAGE_CAP,
        Reason.NOT_OPTIMAL,
    }
)
"""Reasons for which an eligible instance was left out of a selection."""
