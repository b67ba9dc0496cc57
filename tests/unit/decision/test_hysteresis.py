from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from qmtl_worlds.contracts.plans import ChangeReason
from qmtl_worlds.contracts.reasons import DecisionVerdict, Outcome, Reason
from qmtl_worlds.policy.compiler import CompiledPolicy
from tests.unit.decision.worlds import NOW, Instance, carried, evaluate, exposure, names, policy, recorded

STEP = timedelta(days=1)
TWICE = {"promote_after": 2, "demote_after": 2, "min_dwell": "3d"}


def live(instances: list[Instance], compiled: CompiledPolicy, *, now: datetime) -> list[Instance]:
    """Evaluate once, and apply the decision."""
    return carried(instances, evaluate(instances, compiled, now=now), now=now)


def test_the_trace_of_the_specification_holds() -> None:
    rules, one, seen = policy(hysteresis=TWICE), [Instance("a")], []

    for step, score in enumerate([1, 1, -1, 1, -1, -1, -1, 1, 1, 1]):
        one = live([replace(one[0], score=float(score))], rules, now=NOW + step * STEP)
        seen.append(one[0].active)

    assert seen == [False, True, True, True, True, False, False, False, True, True]


def test_the_trace_holds_for_an_instance_that_is_merely_outranked() -> None:
    rules, seen = policy(hysteresis=TWICE, topk={"total": 1}), []
    pair = [Instance("a"), Instance("rival", score=5.0)]

    for step, score in enumerate([1, 1, -1, 1, -1, -1, -1, 1, 1, 1]):
        pair = live([replace(pair[0], score=5.0 + score), pair[1]], rules, now=NOW + step * STEP)
        seen.append(pair[0].active)

    assert seen == [False, True, True, True, True, False, False, False, True, True]


def test_evaluating_twice_on_the_same_evidence_counts_once() -> None:
    rules = policy(hysteresis={"promote_after": 2})

    once = live([Instance("a")], rules, now=NOW)
    twice = live(once, rules, now=NOW + timedelta(hours=1))
    next_day = live(twice, rules, now=NOW + STEP)

    assert [one[0].in_streak for one in (once, twice, next_day)] == [1, 1, 2]
    assert [one[0].active for one in (once, twice, next_day)] == [False, False, True]


def test_earlier_evidence_does_not_count() -> None:
    rules = policy(hysteresis={"promote_after": 3})
    counted = live([Instance("a")], rules, now=NOW)

    back = live(counted, rules, now=NOW - 3 * STEP)

    assert back[0].in_streak == 1
    assert back[0].evidence == counted[0].evidence


def test_an_unknown_instance_loses_its_promote_streak_only() -> None:
    instances = [Instance("a", ok=None, in_streak=3), Instance("b", ok=None, active=True, out_streak=1)]

    decision = evaluate(instances, policy(hysteresis={"promote_after": 4, "demote_after": 2}))

    assert decision.streaks.in_streak.tolist() == [0, 0]
    assert decision.streaks.out_streak.tolist() == [0, 1]


def test_a_run_that_does_not_count_answers_alike_but_moves_no_streak() -> None:
    rules = policy(hysteresis={"promote_after": 2})
    instances = [Instance("a", in_streak=1)]

    dry = evaluate(instances, rules, counts=False)
    real = evaluate(instances, rules)

    assert dry.promote == real.promote == ("a|long",)
    assert (dry.streaks.in_streak.tolist(), dry.streaks.evidence.tolist()) == ([1], [-1])
    assert real.streaks.in_streak.tolist() == [2]


def test_streaks_of_another_selection_begin_anew() -> None:
    rules = policy(hysteresis={"promote_after": 2})

    decision = evaluate([Instance("a", in_streak=7)], rules, streak_checksum="sha256:other")

    assert decision.promote == ()
    assert decision.streaks.in_streak.tolist() == [1]
    assert decision.streaks.checksum == rules.selection_checksum


def test_a_demoted_instance_cools_down_for_the_minimum_dwell() -> None:
    rules = policy(hysteresis={"min_dwell": "2d"})

    early = evaluate([Instance("a", since=NOW - timedelta(hours=47))], rules)
    late = evaluate([Instance("a", since=NOW - timedelta(hours=48))], rules)

    assert recorded(early, "a").reason is Reason.COOLING_DOWN
    assert recorded(early, "a").steps[-2].dwell_left_seconds == 3600.0
    assert late.promote == ("a|long",)


def test_dwell_keeps_who_is_outranked_but_not_who_fails() -> None:
    rules = policy(topk={"total": 1}, hysteresis={"min_dwell": "5d"})
    outranked = Instance("a", active=True, score=1.0, since=NOW - STEP)
    failed = replace(outranked, ok=-1.0)

    kept = evaluate([outranked, Instance("b", score=2.0)], rules)
    gone = evaluate([failed, Instance("b", score=2.0)], rules)

    assert recorded(kept, "a").reason is Reason.KEPT_BY_DWELL
    assert recorded(kept, "b").reason is Reason.NO_ROOM
    assert names(gone.demote) == ["a"]
    assert gone.reasons["a|long"] is ChangeReason.GATE_FAIL


def test_an_outranked_member_leaves_by_the_part_that_waits() -> None:
    decision = evaluate([Instance("a", active=True), Instance("b", score=2.0)], policy(topk={"total": 1}))

    assert (names(decision.promote), names(decision.demote)) == (["b"], ["a"])
    assert decision.reasons == {"a|long": ChangeReason.OUTRANKED, "b|long": ChangeReason.SELECTED}
    assert decision.reduced == {"a|long": 0.6}


def test_a_failed_member_leaves_by_the_part_that_waits_for_nobody() -> None:
    decision = evaluate([Instance("a", active=True, ok=-1.0), Instance("b")])

    assert decision.reduced == {}
    assert decision.weights == {"b|long": 0.3}


def test_kept_members_over_a_count_keep_everybody_else_out() -> None:
    rules = policy(topk={"total": 2}, hysteresis={"demote_after": 3})
    kept = [Instance(name, active=True, score=5.0, weight=0.2) for name in "abc"]

    decision = evaluate([*kept, Instance("d", score=9.0)], rules)

    assert decision.promote == ()
    assert recorded(decision, "d").reason is Reason.KEPT_OVER_CAPS
    assert names(decision.hold) == ["a", "b", "c"]


def test_kept_members_over_the_correlation_cap_keep_everybody_else_out() -> None:
    cap = {"correlation": {"max_pairwise": 0.8, "window": "40d", "min_overlap": 30}}
    rules = policy(topk={"total": 4}, constraints=exposure() | cap, hysteresis={"demote_after": 3})

    decision = evaluate(
        [Instance("a", active=True), Instance("b", active=True), Instance("c")],
        rules,
        correlations={("a|long", "b|long"): 0.9},
    )

    assert decision.promote == ()
    assert [found["code"] for found in decision.violations] == ["correlated"]


def test_a_change_budget_queues_the_last_promotions() -> None:
    rules = policy(topk={"total": 4}, max_changes_per_apply=2)

    decision = evaluate([Instance(name, score=score) for name, score in zip("abcd", (1, 4, 3, 2), strict=True)], rules)

    assert names(decision.promote) == ["b", "c"]
    assert names(decision.queued) == ["d", "a"]
    assert recorded(decision, "a").outcome is Outcome.QUEUED


@pytest.mark.parametrize(("unknown", "verdict"), [(1, "ok"), (2, "inconclusive"), (4, "inconclusive")])
def test_a_run_that_cannot_judge_half_of_the_members_is_inconclusive(unknown: int, verdict: str) -> None:
    members = [Instance(f"m{i}", active=True, ok=None if i < unknown else 1.0) for i in range(4)]

    decision = evaluate([*members, Instance("new")], policy(topk={"total": 5}))

    assert decision.verdict == verdict
    assert (decision.promote == ()) == (verdict == "inconclusive")


def test_an_inconclusive_run_still_reduces() -> None:
    rules = policy(topk={"total": 5})
    members = [Instance(f"m{i}", active=True, ok=None) for i in range(2)]
    leaving = [Instance("fails", active=True, ok=-1.0), Instance("held", active=True, held=True)]

    decision = evaluate([*members, *leaving, Instance("new")], rules)

    assert decision.verdict is DecisionVerdict.INCONCLUSIVE
    assert names(decision.demote) == ["fails", "held"]
    assert decision.weights == decision.reduced
    assert recorded(decision, "new").reason is Reason.INCONCLUSIVE


def test_an_open_circuit_blocks_promotions_and_outranked_demotions() -> None:
    instances = [Instance("a", active=True), Instance("b", score=2.0)]

    decision = evaluate(instances, policy(topk={"total": 1}), circuit_open=True)

    assert not decision.has_plan
    assert names(decision.hold) == ["a"]
    assert recorded(decision, "a").reason is Reason.CIRCUIT_OPEN


def test_a_member_on_a_side_without_slots_leaves_at_once_whatever_protects_it() -> None:
    long_only = policy(
        topk={"total": 2, "by_side": {"long": 2, "short": 0}}, hysteresis={"demote_after": 3, "min_dwell": "9d"}
    )
    short = Instance("s", side="short", active=True, weight=0.2, since=NOW - STEP)

    decision = evaluate([Instance("a", active=True), short], long_only)

    assert decision.demote == ("s|short",)
    assert decision.reasons == {"s|short": ChangeReason.CAP}
    assert "s|short" not in decision.reduced
    row = recorded(decision, "s")
    assert (row.outcome, row.reason) == (Outcome.DEMOTE, Reason.SIDE_FULL)


def test_who_left_the_set_while_in_the_target_needs_the_whole_streak_again() -> None:
    rules, counted = policy(hysteresis={"promote_after": 2}), int(NOW.timestamp())
    left = Instance("a", in_streak=5, evidence=counted, since=NOW + timedelta(hours=3))

    first = evaluate([left], rules, now=NOW + STEP)
    second = evaluate(carried([left], first, now=NOW + STEP), rules, now=NOW + 2 * STEP)

    assert (first.promote, int(first.streaks.in_streak[0])) == ((), 1)
    assert second.promote == ("a|long",)


def test_who_left_and_shows_no_new_evidence_has_no_streak() -> None:
    left = Instance("a", in_streak=5, evidence=int(NOW.timestamp()), since=NOW + timedelta(hours=3))

    decision = evaluate([left], now=NOW + timedelta(hours=4))

    assert (decision.promote, int(decision.streaks.in_streak[0])) == ((), 0)
