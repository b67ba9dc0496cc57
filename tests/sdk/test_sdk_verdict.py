"""One order against one activation."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl_worlds.contracts.activation import ActivationEnvelope, GateLevel
from qmtl_worlds.sdk.permission import grant
from qmtl_worlds.sdk.verdict import GateRules, VenueMode, Verdict, judge
from tests.sdk.activations import activation, shut

PAPER = GateRules()
PERHAPS = st.sampled_from([True, False, None])
ACTIVATIONS = st.sampled_from(
    [
        None,
        activation(),
        activation(mode="live", effective_mode="live"),
        activation(mode="replay", effective_mode="replay"),
        shut(GateLevel.REDUCE_ONLY),
        shut(GateLevel.REDUCE_ONLY, drain=True, reason="applying"),
        shut(GateLevel.CLOSED, reason="killed"),
    ]
)
RULES = st.builds(
    GateRules,
    venue_mode=st.sampled_from(["paper", "live", "replay"]),
    on_expiry=st.sampled_from(["reduce_only", "closed"]),
)


def judged(
    envelope: ActivationEnvelope | None, *, reduces: bool | None, now: float = 0.0, rules: GateRules = PAPER
) -> Verdict:
    return judge(envelope, deadline=5.0, now=now, reduces=reduces, rules=rules)


def test_open_gate_scales_entries_and_never_exits() -> None:
    entry = judged(activation(), reduces=False)
    exit_ = judged(activation(), reduces=True)

    assert entry == Verdict(allowed=True, weight=0.12, reason="active")
    assert exit_ == Verdict(allowed=True, weight=1.0, reason="active")


def test_unknown_direction_counts_as_increasing_risk() -> None:
    frozen = shut(GateLevel.REDUCE_ONLY)

    assert not judged(frozen, reduces=None).allowed
    assert judged(frozen, reduces=True).allowed


def test_closed_gate_stops_exits_too() -> None:
    killed = shut(GateLevel.CLOSED, reason="killed")

    verdict = judged(killed, reduces=True)

    assert verdict == Verdict(allowed=False, weight=0.0, reason="killed")


def test_order_caught_by_an_apply_is_told_when_to_retry() -> None:
    draining = shut(GateLevel.REDUCE_ONLY, drain=True, reason="applying")

    verdict = judged(draining, reduces=False)

    assert verdict == Verdict(allowed=False, weight=0.0, reason="applying", retry_after_ms=1000)


@pytest.mark.parametrize("now", [5.0, 5.1, math.inf, math.nan])
def test_expired_lease_lets_exits_pass_only(now: float) -> None:
    assert judged(activation(), reduces=True, now=now) == Verdict(allowed=True, weight=1.0, reason="expired")
    assert not judged(activation(), reduces=False, now=now).allowed
    assert not judged(activation(), reduces=None, now=now).allowed


def test_expired_lease_keeps_a_closed_gate_closed() -> None:
    assert not judged(shut(GateLevel.CLOSED), reduces=True, now=9.0).allowed


def test_gate_set_to_close_on_expiry_stops_exits_after_the_lease() -> None:
    rules = GateRules(on_expiry="closed")

    assert judged(activation(), reduces=True, now=4.9, rules=rules).allowed
    assert not judged(activation(), reduces=True, now=5.0, rules=rules).allowed


def test_world_that_closes_on_expiry_stops_exits_after_the_lease_whatever_the_gate_was_set_to() -> None:
    strict = activation(on_lease_expiry="closed")

    assert judged(strict, reduces=True, now=4.9).allowed
    assert not judged(strict, reduces=True, now=5.0).allowed


@pytest.mark.parametrize(
    ("mode", "venue", "allowed"),
    [
        ("paper", "paper", True),
        ("replay", "replay", True),
        ("live", "live", True),
        ("live", "paper", False),
        ("paper", "live", False),
        ("replay", "paper", False),
        ("replay", "live", False),
        ("shadow", "paper", False),
        ("shadow", "live", False),
    ],
)
def test_venue_must_match_the_mode_of_the_world(mode: str, venue: VenueMode, *, allowed: bool) -> None:
    rules = GateRules(venue_mode=venue)

    verdict = judged(activation(mode=mode, effective_mode=mode), reduces=True, rules=rules)

    assert verdict.allowed is allowed
    assert allowed or verdict.reason == "venue_mismatch"


@given(envelope=ACTIVATIONS, reduces=PERHAPS, now=st.floats(), deadline=st.floats(), rules=RULES)
def test_an_entry_passes_only_under_an_open_gate_within_the_lease(
    *, envelope: ActivationEnvelope | None, reduces: bool | None, now: float, deadline: float, rules: GateRules
) -> None:
    verdict = judge(envelope, deadline=deadline, now=now, reduces=reduces, rules=rules)

    proven = envelope is not None and envelope.gate is GateLevel.OPEN and now < deadline
    assert proven or not verdict.allowed or reduces is True
    assert (verdict.weight > 0) == verdict.allowed
    assert 0 <= verdict.weight <= 1


@given(envelope=ACTIVATIONS, reduces=PERHAPS, now=st.floats(), deadline=st.floats(allow_nan=False), rules=RULES)
def test_permission_holds_exactly_the_verdicts_of_judge(
    *, envelope: ActivationEnvelope | None, reduces: bool | None, now: float, deadline: float, rules: GateRules
) -> None:
    held = grant(envelope, deadline=deadline, rules=rules)

    entry, exit_ = (held.entry, held.exit) if now < deadline else (held.late_entry, held.late_exit)

    expected = judge(envelope, deadline=deadline, now=now, reduces=reduces, rules=rules)
    assert (exit_ if reduces is True else entry) == expected
