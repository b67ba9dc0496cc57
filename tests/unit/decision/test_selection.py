from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from qmtl_worlds.contracts.reasons import Reason, Stage
from qmtl_worlds.contracts.trace import TraceStep
from qmtl_worlds.decision.outcome import Decision
from tests.unit.decision.worlds import NOW, Instance, evaluate, exposure, names, noise_of, policy, recorded

CORRELATED = {"correlation": {"max_pairwise": 0.8, "window": "40d", "min_overlap": 30}}


def rejection(decision: Decision, name: str) -> TraceStep:
    steps = recorded(decision, name).steps
    return next(step for step in steps if step.stage in {Stage.CONSTRAINTS, Stage.TOPK} and step.value is not None)


def twin(name: str, of: str, **fields: Any) -> Instance:
    return Instance(name, returns=noise_of(of) + 0.1 * noise_of(f"{name} itself"), **fields)


def test_the_order_is_score_then_incumbent_then_age_then_id() -> None:
    old = NOW - timedelta(days=900)
    instances = [
        Instance("e", score=1.0),
        Instance("d", score=1.0),
        Instance("c", score=1.0, bound_at=old),
        Instance("b", score=1.0, active=True),
        Instance("a", score=2.0),
    ]

    decision = evaluate(instances, policy(topk={"total": 5}))

    assert names(decision.topk) == ["a", "b", "c", "d", "e"]
    assert list(decision.ranks.values()) == [1, 2, 3, 4, 5]


def test_an_incumbent_bonus_lifts_active_instances() -> None:
    instances = [Instance("new", score=1.2), Instance("old", score=1.0, active=True)]

    decision = evaluate(instances, policy(topk={"total": 1}, incumbent_bonus=0.3))

    assert names(decision.topk) == ["old"]


def test_the_total_and_each_side_are_caps() -> None:
    rules = policy(topk={"total": 3, "by_side": {"long": 2, "short": 2}})
    instances = [Instance(f"l{i}", score=9.0 - i) for i in range(4)]
    instances += [Instance(f"s{i}", score=8.5 - i, side="short") for i in range(4)]

    decision = evaluate(instances, rules)

    assert names(decision.topk) == ["l0", "s0", "l1"]
    assert rejection(decision, "s1").reason is Reason.TOTAL_FULL
    assert rejection(decision, "s1").blockers == ("l0|long", "s0|short", "l1|long")


def test_a_full_side_names_its_members_as_blockers() -> None:
    rules = policy(topk={"total": 3, "by_side": {"long": 1, "short": 2}})

    decision = evaluate([Instance("a", score=3.0), Instance("b", score=2.0), Instance("s", side="short")], rules)

    step = rejection(decision, "b")
    assert (step.reason, step.value, step.threshold, step.margin) == (Reason.SIDE_FULL, 2.0, 1.0, -1.0)
    assert step.blockers == ("a|long",)


def test_a_correlated_candidate_names_its_blocker_and_the_margin() -> None:
    rules = policy(constraints=exposure() | CORRELATED)
    clone = noise_of("a|long") + 0.1 * noise_of("b itself")
    instances = [Instance("a", score=3.0), Instance("b", score=2.0, returns=clone), Instance("c", score=1.0)]

    decision = evaluate(instances, rules)

    step = rejection(decision, "b")
    assert names(decision.topk) == ["a", "c"]
    assert (step.reason, step.blockers, step.threshold) == (Reason.CORRELATED, ("a|long",), 0.8)
    rho = np.corrcoef(clone, noise_of("a|long"))[0, 1]
    assert step.value == pytest.approx(rho, abs=1e-12)
    assert step.margin == pytest.approx(0.8 - rho)


@pytest.mark.parametrize(("unknown", "expected"), [("conflict", ["a"]), ("ignore", ["a", "b"])])
def test_an_unknown_correlation_conflicts_unless_it_is_ignored(unknown: str, expected: list[str]) -> None:
    limits = {"correlation": CORRELATED["correlation"] | {"on_unknown": unknown}}
    short = np.where(np.arange(40) < 30, np.nan, 0.01 + 0.001 * np.arange(40))

    decision = evaluate(
        [Instance("a", score=3.0), Instance("b", returns=short)], policy(constraints=exposure() | limits)
    )

    assert names(decision.topk) == expected
    assert recorded(decision, "b").reason in {Reason.CORRELATION_UNKNOWN, Reason.PROMOTED}


def test_correlations_of_the_request_replace_computed_ones() -> None:
    rules = policy(constraints=exposure() | CORRELATED)

    decision = evaluate(
        [Instance("a", score=3.0), Instance("b", score=2.0), Instance("c")],
        rules,
        correlations={("b|long", "a|long"): 0.9, ("nobody|long", "a|long"): 0.9},
    )

    assert names(decision.topk) == ["a", "c"]
    assert rejection(decision, "b").value == 0.9


def test_a_sector_cap_counts_long_and_short_together() -> None:
    rules = policy(
        topk={"total": 4, "by_side": {"long": 2, "short": 2}},
        constraints=exposure(sector_cap={"per_sector": 0.4}),
    )
    instances = [
        Instance("a", score=4.0, sector="tech"),
        Instance("b", score=3.0, sector="tech", side="short"),
        Instance("c", score=2.0, sector="oil", side="short"),
    ]

    decision = evaluate(instances, rules)

    step = rejection(decision, "b")
    assert names(decision.topk) == ["a", "c"]
    assert (step.reason, step.value, step.threshold) == (Reason.SECTOR_CAP, 0.5, 0.4)
    assert step.blockers == ("a|long",)


def test_a_sector_cap_that_is_reached_exactly_holds() -> None:
    rules = policy(topk={"total": 6}, constraints=exposure(sector_cap={"per_sector": 0.3}))

    decision = evaluate([Instance(f"i{i}") for i in range(6)], rules)

    assert len(decision.topk) == 3


def test_the_leverage_cap_counts_slots_times_leverage() -> None:
    rules = policy(constraints=exposure(max_leverage=1.0))

    decision = evaluate([Instance("a", score=2.0, leverage=3.0), Instance("b", leverage=0.5)], rules)

    step = rejection(decision, "b")
    assert names(decision.topk) == ["a"]
    assert step.reason is Reason.LEVERAGE_CAP
    assert step.value == pytest.approx(1.05)


def test_the_first_binding_constraint_is_the_one_recorded() -> None:
    rules = policy(
        topk={"total": 2, "by_side": {"long": 1, "short": 1}},
        constraints=exposure(max_leverage=0.7, sector_cap={"per_sector": 0.6}) | CORRELATED,
    )
    everything = twin("b", "a|long", score=2.0, leverage=9.0)

    decision = evaluate([Instance("a", score=3.0), everything], rules)

    assert rejection(decision, "b").reason is Reason.SIDE_FULL


def test_many_conflicting_candidates_are_walked_in_blocks() -> None:
    rules = policy(topk={"total": 3}, constraints=exposure() | CORRELATED)
    clones = [twin(f"c{i:03d}", "first|long", score=900.0 - i) for i in range(200)]

    decision = evaluate([Instance("first", score=999.0), *clones, Instance("last", score=1.0)], rules)

    assert names(decision.topk) == ["first", "last"]
    assert {rejection(decision, f"c{i:03d}").blockers for i in (0, 31, 32, 199)} == {("first|long",)}
