from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from qmtl_worlds.contracts.plans import ChangeReason
from qmtl_worlds.contracts.reasons import Reason, Stage
from qmtl_worlds.decision.erc import equal_risk_shares
from tests.unit.decision.worlds import Instance, evaluate, exposure, names, noise_of, policy, recorded


def scaled(name: str, factor: float) -> Instance:
    return Instance(name, returns=noise_of(name) * factor)


def test_free_slots_stay_cash() -> None:
    decision = evaluate([Instance("a")], policy(topk={"total": 5}))

    assert decision.weights == {"a|long": 0.12}


def test_each_side_is_sized_from_its_own_budget() -> None:
    rules = policy(topk={"total": 5, "by_side": {"long": 2, "short": 3}})

    decision = evaluate([Instance("a"), *[Instance(f"s{i}", side="short") for i in range(3)]], rules)

    assert decision.weights["a|long"] == 0.3
    assert decision.weights["s0|short"] == 0.133333333
    assert sum(weight for key, weight in decision.weights.items() if key.endswith("short")) <= 0.4


def test_inverse_volatility_gives_the_calmer_one_more() -> None:
    rules = policy(weights={"scheme": "inverse_vol"})
    calm, wild = scaled("a", 1.0), Instance("b", returns=noise_of("a") * 2.0)

    decision = evaluate([calm, wild], rules)

    assert decision.weighting == "inverse_vol"
    assert decision.weights == {"a|long": 0.4, "b|long": 0.2}


def test_no_weight_is_above_the_largest_one() -> None:
    rules = policy(weights={"scheme": "inverse_vol", "max_weight": 0.35})
    calm, wild = scaled("a", 1.0), Instance("b", returns=noise_of("a") * 2.0)

    decision = evaluate([calm, wild], rules)

    assert decision.weights == {"a|long": 0.35, "b|long": 0.2}
    assert recorded(decision, "a").steps[-1].reason is Reason.MAX_WEIGHT


def test_score_weights_follow_the_score() -> None:
    decision = evaluate([Instance("a", score=3.0), Instance("b", score=1.0)], policy(weights={"scheme": "score"}))

    assert decision.weights == {"a|long": 0.45, "b|long": 0.15}


@pytest.mark.parametrize(
    ("scheme", "flat", "used"), [("erc", False, "erc"), ("erc", True, "slot"), ("inverse_vol", True, "slot")]
)
def test_a_scheme_that_cannot_be_computed_falls_back(scheme: str, flat: bool, used: str) -> None:
    other = Instance("b", returns=np.full(40, 0.001)) if flat else Instance("b")

    decision = evaluate([Instance("a"), other], policy(weights={"scheme": scheme}))

    assert decision.weighting == used
    assert sum(decision.weights.values()) == pytest.approx(0.6, abs=1e-8)


def test_equal_risk_falls_back_to_inverse_volatility_where_sessions_are_missing() -> None:
    gaps = np.where(np.arange(40) % 2 == 0, np.nan, noise_of("b"))
    other = np.where(np.arange(40) % 2 == 1, np.nan, noise_of("a"))
    instances = [Instance("a", returns=other), Instance("b", returns=gaps)]

    decision = evaluate(instances, policy(weights={"scheme": "erc"}))

    assert decision.weighting == "inverse_vol"


def test_equal_risk_shares_contribute_the_same_risk() -> None:
    mixing = np.array([[1.0, 0.2, 0.0], [0.0, 2.0, 0.5], [0.3, 0.0, 0.7]])
    returns = np.column_stack([noise_of(key) for key in "abc"]) @ mixing

    shares = equal_risk_shares(returns, min_obs=20)

    assert shares is not None
    contributions = shares * (np.cov(returns, rowvar=False) @ shares)
    assert float(shares.sum()) == pytest.approx(1.0)
    np.testing.assert_allclose(contributions, contributions.mean(), rtol=1e-9)


def test_equal_risk_shares_need_more_sessions_than_members() -> None:
    assert equal_risk_shares(np.ones((3, 3)), min_obs=2) is None
    assert equal_risk_shares(np.ones((30, 2)), min_obs=2) is None


def test_kept_members_over_a_budget_are_scaled_down_at_once() -> None:
    rules = policy(topk={"total": 2}, hysteresis={"demote_after": 3})
    kept = [Instance(name, active=True, weight=0.3) for name in "abc"]

    decision = evaluate(kept, rules)

    assert decision.weights == {"a|long": 0.2, "b|long": 0.2, "c|long": 0.2}
    assert decision.reduced == decision.weights
    assert set(decision.reasons.values()) == {ChangeReason.CAP}
    assert recorded(decision, "a").steps[-1].reason is Reason.SCALED_SIDE


def test_a_broken_sector_cap_scales_that_sector_alone() -> None:
    cap = exposure(sector_cap={"per_sector": 0.3})
    rules = policy(topk={"total": 3}, constraints=cap, hysteresis={"demote_after": 2})
    instances = [Instance(name, active=True) for name in "ab"] + [Instance("c", active=True, sector="oil")]

    decision = evaluate(instances, rules)

    assert decision.weights == {"a|long": 0.15, "b|long": 0.15, "c|long": 0.2}
    assert {found["code"] for found in decision.violations} == {"sector_cap"}


def test_a_broken_leverage_cap_scales_everybody() -> None:
    rules = policy(constraints=exposure(max_leverage=0.9), hysteresis={"demote_after": 2})
    instances = [Instance("a", active=True, leverage=3.0), Instance("b", active=True, leverage=3.0)]

    decision = evaluate(instances, rules)

    assert decision.weights == {"a|long": 0.15, "b|long": 0.15}
    assert recorded(decision, "b").steps[-1].reason is Reason.SCALED_LEVERAGE


def test_a_move_within_the_band_makes_no_plan() -> None:
    rules = policy(weights={"band": 0.02})

    decision = evaluate([Instance("a", active=True, weight=0.285), Instance("b", active=True)], rules)

    assert not decision.has_plan
    assert decision.weights == {"a|long": 0.285, "b|long": 0.3}
    assert recorded(decision, "a").steps[-1].reason is Reason.WITHIN_BAND


def test_a_move_over_the_band_raises_by_the_part_that_waits() -> None:
    decision = evaluate([Instance("a", active=True, weight=0.2), Instance("b", active=True)])

    assert decision.has_plan
    assert decision.weights == {"a|long": 0.3, "b|long": 0.3}
    assert decision.reduced == {"a|long": 0.2, "b|long": 0.3}
    assert decision.reasons == {"a|long": ChangeReason.RESIZED}


def test_a_member_that_cannot_be_judged_is_not_raised() -> None:
    stale = Instance("a", active=True, weight=0.15, fresh_for=timedelta(seconds=-1))

    decision = evaluate([stale, Instance("b", active=True), Instance("c")], policy(topk={"total": 3}))

    assert decision.weights["a|long"] == 0.15
    assert recorded(decision, "a").steps[-1].reason is Reason.NO_RAISE


def test_a_broken_cap_is_mended_however_small_the_cut() -> None:
    decision = evaluate([Instance("a", active=True, weight=0.3001), Instance("b", active=True)])

    assert decision.has_plan
    assert decision.weights["a|long"] == 0.3


def test_contribution_is_weight_times_the_mean_return() -> None:
    decision = evaluate([Instance("a"), Instance("b", active=True, returns=np.full(40, np.nan))])

    assert decision.contribution["a|long"] == pytest.approx(0.3 * noise_of("a|long").mean(), abs=1e-15)
    assert decision.contribution["b|long"] is None


def test_the_plan_leads_from_the_present_set_to_the_new_one() -> None:
    decision = evaluate([Instance("a", active=True, ok=-1.0), Instance("b")])

    plan = decision.plan(base_generation=7)

    assert plan.base_generation == 7
    assert plan.before.to_json() == {"a|long": 0.3}
    assert plan.after.to_json() == {"b|long": 0.3}
    assert [(change.key.text, change.reason.value) for change in plan.changes] == [
        ("a|long", "gate_fail"),
        ("b|long", "selected"),
    ]


def test_violations_name_what_the_present_set_breaks() -> None:
    rules = policy(topk={"total": 1}, hysteresis={"demote_after": 9})
    instances = [Instance("a", active=True, weight=0.5), Instance("b", active=True, ok=-1.0, weight=0.5)]

    decision = evaluate(instances, rules)

    assert [(found["code"], found["key"]) for found in decision.violations] == [
        ("total_full", ""),
        ("side_full", ""),
        ("gross_budget", ""),
        ("gate_failed", "b|long"),
    ]
    assert names(decision.final) == ["a", "b"]
    assert recorded(decision, "b").steps[-1].stage == Stage.WEIGHTS
