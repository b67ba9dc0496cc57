from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from qmtl_worlds.contracts.reasons import DecisionVerdict, EffectiveMode, Outcome, Reason, StepVerdict
from tests.unit.decision.worlds import NOW, Instance, evaluate, exposure, names, policy, recorded


def test_an_eligible_instance_is_promoted_at_its_slot_weight() -> None:
    decision = evaluate([Instance("a")])

    assert decision.promote == ("a|long",)
    assert decision.weights == {"a|long": 0.3}
    assert recorded(decision, "a").outcome is Outcome.PROMOTE


def test_data_are_fresh_up_to_their_last_instant() -> None:
    decision = evaluate(
        [Instance("last", fresh_for=timedelta(0)), Instance("late", fresh_for=timedelta(microseconds=-1))]
    )

    assert names(decision.final) == ["last"]
    assert recorded(decision, "late").reason is Reason.STALE


def test_a_stale_instance_keeps_its_membership_and_is_not_promoted() -> None:
    stale = timedelta(seconds=-1)
    fresh = [Instance(name, active=True) for name in ("b", "c")]

    decision = evaluate(
        [Instance("a", active=True, out_streak=9, fresh_for=stale), *fresh, Instance("d", fresh_for=stale)],
        policy(topk={"total": 4}),
    )

    assert names(decision.hold) == ["b", "c", "a"]
    assert recorded(decision, "a").reason is Reason.KEPT_UNKNOWN
    assert recorded(decision, "d").outcome is Outcome.OUT


def test_an_instance_without_data_says_so() -> None:
    decision = evaluate([Instance("a", fresh_for=None)])

    assert recorded(decision, "a").reason is Reason.NO_DATA
    assert decision.effective_mode is EffectiveMode.COMPUTE_ONLY
    assert decision.reason is Reason.NOTHING_FRESH


@pytest.mark.parametrize(("needed", "outcome"), [("40d", Outcome.PROMOTE), ("41d", Outcome.OUT)])
def test_metrics_are_advisory_until_the_history_is_long_enough(needed: str, outcome: Outcome) -> None:
    decision = evaluate([Instance("a")], policy(min_history=needed))

    assert recorded(decision, "a").outcome is outcome


def test_a_short_history_demotes_nobody() -> None:
    active = [Instance("a", active=True, ok=-1.0, out_streak=5), Instance("b", active=True, ok=-1.0, out_streak=5)]

    decision = evaluate(active, policy(min_history="41d"))

    assert names(decision.hold) == ["a", "b"]
    assert decision.demote == ()
    assert decision.verdict is DecisionVerdict.INCONCLUSIVE


def test_a_failed_gate_and_an_unknown_one_differ() -> None:
    decision = evaluate([Instance("fails", ok=-1.0), Instance("unknown", ok=None)])

    fails, unknown = recorded(decision, "fails"), recorded(decision, "unknown")
    assert (fails.eligibility, fails.reason) == (StepVerdict.FAIL, Reason.GATE_FAILED)
    assert (unknown.eligibility, unknown.reason) == (StepVerdict.UNKNOWN, Reason.METRIC_MISSING)


def test_a_score_must_be_known_and_reach_the_minimum() -> None:
    instances = [Instance("low", score=0.49), Instance("edge", score=0.5), Instance("none", score=None)]

    decision = evaluate(instances, policy(min_score=0.5))

    assert names(decision.final) == ["edge"]
    assert recorded(decision, "low").reason is Reason.SCORE_BELOW_MINIMUM
    assert recorded(decision, "none").reason is Reason.METRIC_MISSING


def test_an_unreported_leverage_is_not_eligible_where_the_policy_caps_it() -> None:
    capped = policy(constraints=exposure(max_leverage=3.0))
    assumed = policy(constraints=exposure(max_leverage=3.0, assume_leverage=2.0))

    assert recorded(evaluate([Instance("a", leverage=None)], capped), "a").reason is Reason.LEVERAGE_MISSING
    assert names(evaluate([Instance("a", leverage=None)], assumed).final) == ["a"]
    assert names(evaluate([Instance("a", leverage=None)], policy()).final) == ["a"]


@pytest.mark.parametrize(("missing", "expected"), [("bucket", ["a"]), ("exempt", ["a", "b"]), ("reject", [])], ids=str)
def test_missing_sectors_follow_the_policy(missing: str, expected: list[str]) -> None:
    rules = policy(constraints=exposure(sector_cap={"per_sector": 0.3}, on_missing_sector=missing))

    decision = evaluate([Instance("a", sector=None), Instance("b", sector=None)], rules)

    assert names(decision.final) == expected


def test_held_instances_leave_at_once_and_do_not_come_in() -> None:
    instances = [
        Instance("a", active=True, held=True, since=NOW, in_streak=4),
        Instance("b", held=True),
        Instance("c", active=True),
    ]

    decision = evaluate(instances, policy(hysteresis={"demote_after": 5, "min_dwell": "30d"}))

    assert names(decision.demote) == ["a"]
    assert decision.reduced == decision.weights == {"c|long": 0.3}
    assert recorded(decision, "b").reason is Reason.HELD
    assert decision.streaks.in_streak.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("fields", "mode", "reason"),
    [
        ({}, EffectiveMode.PAPER, Reason.OK),
        ({"world_mode": "live"}, EffectiveMode.LIVE, Reason.OK),
        ({"world_mode": "shadow"}, EffectiveMode.SHADOW, Reason.OK),
        ({"world_mode": "replay"}, EffectiveMode.REPLAY, Reason.OK),
        ({"has_applied_set": False}, EffectiveMode.VALIDATE, Reason.NO_APPLIED_SET),
        ({"circuit_open": True}, EffectiveMode.COMPUTE_ONLY, Reason.CIRCUIT_OPEN),
    ],
)
def test_the_effective_mode_says_what_a_decision_may_be_used_for(
    fields: dict[str, Any], mode: EffectiveMode, reason: Reason
) -> None:
    decision = evaluate([Instance("a")], **fields)

    assert (decision.effective_mode, decision.reason) == (mode, reason)


def test_a_world_without_instances_decides_nothing() -> None:
    decision = evaluate([])

    assert decision.final == ()
    assert not decision.has_plan
    assert decision.chunks() == []


def test_an_instance_without_a_single_session_gathers_no_streak() -> None:
    decision = evaluate([Instance("a", returns=np.full(40, np.nan))])

    assert decision.topk == ("a|long",)
    assert decision.promote == ()
    assert decision.streaks.evidence.tolist() == [-1]


def test_one_metric_may_be_read_over_windows_in_days_and_in_words() -> None:
    decision = evaluate([Instance("a")], policy(gates="abs(kurt_mid) >= 0 or abs(kurt_45d) >= 0 or reported.ok > 0"))

    assert names(decision.final) == ["a"]
