from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.plans import EMPTY_SET, ActiveSet, active_set
from qmtl_worlds.lifecycle.budget import Caps, Exposures, MissingSector, violations
from qmtl_worlds.lifecycle.plan import split
from qmtl_worlds.lifecycle.rollback import preview, rollback_plan
from tests.unit.lifecycle.runs import ANT, BEE, CAT, DOG, KEYS, plan_of, sets

SHORT = InstanceKey("eel", Side.SHORT)
CAPS = Caps(total=3, by_side={Side.LONG: 2, Side.SHORT: 1}, gross={Side.LONG: 0.6, Side.SHORT: 0.4})
WIDE = Caps(total=99, by_side=dict.fromkeys(Side, 99), gross=dict.fromkeys(Side, 99.0))


def rules(content: ActiveSet, caps: Caps, exposures: Exposures | None = None, *admitted: InstanceKey) -> list[str]:
    found = violations(content, caps, exposures or Exposures(), admitted=frozenset(admitted))
    return [f"{one.rule} {one.subject}" for one in found]


def test_set_within_every_budget_has_no_violation() -> None:
    content = active_set({ANT: 0.3, BEE: 0.3, SHORT: 0.4})

    assert rules(content, CAPS, None, *content.weights) == []
    assert rules(EMPTY_SET, CAPS) == []


def test_counts_bind_what_is_newly_admitted_and_not_what_is_kept() -> None:
    content = active_set({ANT: 0.1, BEE: 0.1, CAT: 0.1, SHORT: 0.1})

    assert rules(content, CAPS) == []
    assert rules(content, CAPS, None, SHORT) == ["total world"]
    assert rules(content, CAPS, None, CAT) == ["total world", "by_side long"]


def test_side_without_slots_or_budget_admits_nothing() -> None:
    caps = Caps(total=9, by_side={Side.LONG: 9}, gross={Side.LONG: 1.0})

    assert rules(active_set({SHORT: 0.1}), caps, None, SHORT) == ["by_side short", "gross short"]


def test_gross_binds_kept_members_too_to_a_billionth_of_a_thousandth() -> None:
    assert rules(active_set({ANT: 0.3, BEE: 0.3 + 5e-13}), CAPS) == []
    assert rules(active_set({ANT: 0.3, BEE: 0.3 + 5e-12}), CAPS) == ["gross long"]


def test_sector_cap_adds_long_and_short_and_puts_the_unknown_into_one_bucket() -> None:
    caps = replace(WIDE, per_sector=0.3)
    exposures = Exposures(sectors={ANT: "tech", SHORT: "tech"})
    content = active_set({ANT: 0.2, SHORT: 0.2, BEE: 0.2, CAT: 0.2})

    assert rules(content, caps, exposures) == ["sector (none)", "sector tech"]
    assert rules(content, replace(caps, missing_sector=MissingSector.EXEMPT), exposures) == ["sector tech"]
    assert rules(content, replace(caps, missing_sector=MissingSector.REJECT), exposures) == [
        "sector_unknown (none)",
        "sector tech",
    ]


def test_leverage_is_weighted_and_unknown_leverage_is_refused_or_assumed() -> None:
    caps = replace(WIDE, max_leverage=1.0)
    content, exposures = active_set({ANT: 0.5, BEE: 0.5}), Exposures(leverages={ANT: 1.5})

    assert rules(content, caps, exposures) == ["leverage_unknown world"]
    assert rules(content, replace(caps, assumed_leverage=0.5), exposures) == []
    assert rules(content, replace(caps, assumed_leverage=1.0), exposures) == ["leverage world"]


def test_leverage_that_is_no_number_breaks_its_budget() -> None:
    exposures = Exposures(leverages={ANT: float("nan")})

    assert rules(active_set({ANT: 0.5}), replace(WIDE, max_leverage=99.0), exposures) == ["leverage world"]


@pytest.mark.parametrize(
    ("rho", "absolute", "broken"),
    [(0.8, False, False), (0.81, False, True), (-0.9, False, False), (-0.9, True, True), (float("nan"), False, True)],
)
def test_correlation_is_capped_signed_or_absolute(rho: float, absolute: bool, broken: bool) -> None:
    caps = replace(WIDE, max_pairwise=0.8, absolute=absolute)
    exposures = Exposures(correlations={(BEE, ANT): rho})

    found = rules(active_set({ANT: 0.1, BEE: 0.1}), caps, exposures, ANT)

    assert found == (["correlation ant|long,bee|long"] if broken else [])


def test_correlation_binds_pairs_with_a_newly_admitted_member_and_the_unknown_conflicts() -> None:
    caps, content = replace(WIDE, max_pairwise=0.8), active_set({ANT: 0.1, BEE: 0.1, CAT: 0.1})

    assert rules(content, caps) == []
    assert rules(content, caps, None, CAT) == [
        "correlation_unknown ant|long,cat|long",
        "correlation_unknown bee|long,cat|long",
    ]
    assert rules(content, replace(caps, unknown_conflicts=False), None, CAT) == []


def back_to(
    target: ActiveSet, caps: Caps, current: ActiveSet = EMPTY_SET, **barred: str
) -> tuple[ActiveSet, list[str]]:
    named = {InstanceKey(name, Side.LONG): why for name, why in barred.items()}
    shown = preview(target, current=current, barred=named, caps=caps, exposures=Exposures())
    return shown.content, [f"{key.strategy_id} {why}" for key, why in shown.left_out]


def test_rollback_leaves_out_what_may_no_longer_trade_with_the_reason() -> None:
    content, left_out = back_to(active_set({ANT: 0.1, BEE: 0.1, CAT: 0.1}), WIDE, bee="killed", cat="stale")

    assert content == active_set({ANT: 0.1})
    assert left_out == ["bee killed", "cat stale"]


def test_rollback_over_a_count_leaves_the_lightest_newcomer_out() -> None:
    target = active_set({ANT: 0.05, BEE: 0.2, CAT: 0.1})

    content, left_out = back_to(target, replace(WIDE, total=2), current=active_set({ANT: 0.05}))

    assert content == active_set({ANT: 0.05, BEE: 0.2})
    assert left_out == ["cat total"]


def test_rollback_over_a_gross_budget_scales_down() -> None:
    content, left_out = back_to(active_set({ANT: 0.6, BEE: 0.3}), CAPS)

    assert content == active_set({ANT: 0.4, BEE: 0.2})
    assert left_out == []


def test_rollback_without_budget_leaves_everyone_out() -> None:
    content, left_out = back_to(active_set({ANT: 0.6}), replace(CAPS, gross={}))

    assert content == EMPTY_SET
    assert left_out == ["ant gross"]


exposures = st.builds(
    Exposures,
    sectors=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["tech", "energy"])),
    leverages=st.dictionaries(st.sampled_from(KEYS), st.sampled_from([0.0, 1.0, 3.0])),
    correlations=st.dictionaries(
        st.tuples(st.sampled_from(KEYS), st.sampled_from(KEYS)), st.sampled_from([-1.0, 0.0, 0.9])
    ),
)
caps = st.builds(
    Caps,
    total=st.integers(0, 5),
    by_side=st.dictionaries(st.sampled_from(Side), st.integers(0, 4)),
    gross=st.dictionaries(st.sampled_from(Side), st.sampled_from([0.0, 0.3, 1.0])),
    per_sector=st.sampled_from([None, 0.0, 0.25]),
    max_leverage=st.sampled_from([None, 0.5, 2.0]),
    assumed_leverage=st.sampled_from([None, 1.0]),
    max_pairwise=st.sampled_from([None, 0.5]),
    absolute=st.booleans(),
    unknown_conflicts=st.booleans(),
    missing_sector=st.sampled_from(sorted(MissingSector)),
)


@given(sets, sets, caps, exposures)
def test_rollback_satisfies_every_budget_and_never_exceeds_its_target(
    target: ActiveSet, current: ActiveSet, limits: Caps, known: Exposures
) -> None:
    shown = preview(target, current=current, barred={}, caps=limits, exposures=known)

    admitted = shown.content.weights.keys() - current.weights.keys()
    assert violations(shown.content, limits, known, admitted=admitted) == ()
    assert all(entry.weight <= target.weights[entry.key] for entry in shown.content.entries)
    assert {key for key, _ in shown.left_out} == target.weights.keys() - shown.content.weights.keys()


@given(sets, sets, caps, exposures)
def test_reduction_of_a_valid_set_is_valid(
    content: ActiveSet, other: ActiveSet, limits: Caps, known: Exposures
) -> None:
    allowed = other.weights
    less = active_set({key: min(weight, allowed.get(key, 0.0)) for key, weight in content.weights.items()})

    if violations(content, limits, known, admitted=frozenset(KEYS)) == ():
        assert violations(less, limits, known, admitted=frozenset(KEYS)) == ()


def test_demotions_of_a_rollback_do_not_wait() -> None:
    parts = split(rollback_plan(plan_of(active_set({ANT: 0.1, DOG: 0.1}), active_set({BEE: 0.1, DOG: 0.1}))))

    assert parts.reduce is not None
    assert parts.increase is not None
    assert parts.reduce.after == active_set({DOG: 0.1})
    assert parts.increase.after == active_set({BEE: 0.1, DOG: 0.1})
