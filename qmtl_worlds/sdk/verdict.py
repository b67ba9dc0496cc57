"""One order against one activation: the pure rule behind every gate."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, assert_never

from qmtl_worlds.contracts.activation import ActivationEnvelope, ActivationReason, GateLevel
from qmtl_worlds.sdk.line import LineSettings

VenueMode = Literal["paper", "live", "replay"]
"""Where the orders behind a gate go: to a simulated venue, to one with money, or into a replay of history."""

OnExpiry = Literal["reduce_only", "closed"]
"""What still passes when the lease has run out: orders that reduce risk, or none."""

NOT_READY: Final = "not_ready"
"""Reason of a gate that has had no answer yet."""
VENUE_MISMATCH: Final = "venue_mismatch"
"""Reason of a gate whose venue is not the one the world was made for."""


class GateStatus(StrEnum):
    """How well a gate is informed."""

    NOT_READY = "NOT_READY"
    READY = "READY"
    STALE = "STALE"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class GateRules:
    """What one gate was set up for; ``retry_after_ms`` is when asking again may help, ``line`` how it is connected."""

    venue_mode: VenueMode = "paper"
    on_expiry: OnExpiry = "reduce_only"
    retry_after_ms: int = 1000
    line: LineSettings = field(default_factory=LineSettings)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate says of one order.

    ``weight`` is the share of world capital, in [0, 1], by which an order that increases risk is to be scaled; it is 1
    for one that reduces risk and 0 for one that may not pass. ``retry_after_ms`` is set where the cause passes by
    itself, such as an apply; None means that waiting is no remedy.
    """

    allowed: bool
    weight: float
    reason: str
    retry_after_ms: int | None = None


def judge(
    activation: ActivationEnvelope | None,
    *,
    deadline: float,
    now: float,
    reduces: bool | None,
    rules: GateRules,
) -> Verdict:
    """Judge one order against the newest activation seen.

    ``deadline`` and ``now`` are seconds of one monotonic clock; the permission holds while ``now < deadline``. Only
    ``reduces=True`` counts as reducing risk: such an order passes unless the gate is closed, is never scaled, and
    passes after the deadline too unless ``rules.on_expiry`` or the world itself says closed. Without an activation, or
    with one for another venue, nothing passes.
    """
    if activation is None:
        return Verdict(allowed=False, weight=0.0, reason=NOT_READY, retry_after_ms=rules.retry_after_ms)
    if activation.mode != rules.venue_mode:
        return Verdict(allowed=False, weight=0.0, reason=VENUE_MISMATCH)
    if not now < deadline:
        return _judge_expired(activation, reduces=reduces, rules=rules)
    match activation.gate:
        case GateLevel.OPEN:
            return Verdict(allowed=True, weight=1.0 if reduces is True else activation.weight, reason=activation.reason)
        case GateLevel.REDUCE_ONLY | GateLevel.CLOSED:
            return _judge_shut(activation, reduces=reduces, rules=rules)
        case other:
            assert_never(other)


def _judge_expired(activation: ActivationEnvelope, *, reduces: bool | None, rules: GateRules) -> Verdict:
    stricter = {activation.gate, activation.on_lease_expiry, GateLevel(rules.on_expiry)}
    passes = reduces is True and GateLevel.CLOSED not in stricter
    return Verdict(
        allowed=passes,
        weight=1.0 if passes else 0.0,
        reason=ActivationReason.EXPIRED.value,
        retry_after_ms=None if passes else rules.retry_after_ms,
    )


def _judge_shut(activation: ActivationEnvelope, *, reduces: bool | None, rules: GateRules) -> Verdict:
    if reduces is True and activation.gate is GateLevel.REDUCE_ONLY:
        return Verdict(allowed=True, weight=1.0, reason=activation.reason)
    retry = rules.retry_after_ms if activation.drain else None
    return Verdict(allowed=False, weight=0.0, reason=activation.reason, retry_after_ms=retry)
