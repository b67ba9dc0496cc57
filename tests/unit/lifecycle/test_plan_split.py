from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.plans import (
    EMPTY_SET,
    ActiveEntry,
    ActiveSet,
    ChangeKind,
    ChangeReason,
    TransitionPlan,
    active_set,
    parse_active_set,
    parse_plan,
)
from qmtl_worlds.lifecycle.plan import (
    apply_reduce,
    gaining,
    gross_shift,
    is_reduction,
    merge_after_reduce,
    revert_after_reduce,
    same_change,
    split,
)
from tests.unit.lifecycle.runs import ANT, BEE, CAT, DOG, SWAP, plan_of, plans, reductions, sets


def test_gate_failure_leaves_at_once_and_its_replacement_waits() -> None:
    before = active_set({ANT: 0.2, BEE: 0.1, CAT: 0.1})
    plan = plan_of(before, active_set({ANT: 0.1, DOG: 0.1}), bee=ChangeReason.GATE_FAIL)

    parts = split(plan)

    assert parts.reduce is not None
    assert parts.increase is not None
    assert parts.reduce.after == parts.increase.before == active_set({ANT: 0.1, CAT: 0.1})
    assert [(one.key, one.kind) for one in parts.reduce.changes] == [(ANT, ChangeKind.CUT), (BEE, ChangeKind.DEMOTE)]
    assert [(one.key, one.kind, one.reason) for one in parts.increase.changes] == [
        (CAT, ChangeKind.DEMOTE, ChangeReason.OUTRANKED),
        (DOG, ChangeKind.PROMOTE, ChangeReason.SELECTED),
    ]


def test_outranked_member_leaves_only_with_its_replacement() -> None:
    parts = split(SWAP)

    assert parts.reduce is None
    assert parts.increase == SWAP


def test_plan_that_only_reduces_has_no_increase() -> None:
    plan = plan_of(active_set({ANT: 0.2, BEE: 0.1}), active_set({ANT: 0.1}), bee=ChangeReason.KILLED)

    parts = split(plan)

    assert parts.increase is None
    assert parts.reduce == plan


def test_plan_without_change_has_no_part() -> None:
    parts = split(plan_of(SWAP.before, SWAP.before))

    assert (parts.reduce, parts.increase) == (None, None)


def test_outranked_member_over_a_lowered_budget_is_cut_at_once_and_leaves_later() -> None:
    plan = plan_of(active_set({ANT: 0.3}), active_set({DOG: 0.1}))

    parts = split(plan, reduced=active_set({ANT: 0.1}))

    assert parts.reduce is not None
    assert parts.increase is not None
    assert apply_reduce(parts.reduce, plan.before) == parts.increase.before == active_set({ANT: 0.1})
    assert parts.increase.after == plan.after


@given(plans(), sets)
def test_a_given_reduction_never_permits_more_than_before(plan: TransitionPlan, reduced: ActiveSet) -> None:
    parts = split(plan, reduced=reduced)

    between = parts.reduce.after if parts.reduce else plan.before
    assert is_reduction(plan.before, between)
    assert (parts.increase.after if parts.increase else between) == plan.after


@given(plans())
def test_what_a_reduce_run_permits_was_permitted_before(plan: TransitionPlan) -> None:
    reduce = split(plan).reduce

    assert reduce is None or is_reduction(plan.before, reduce.after)


@given(plans())
def test_reduce_then_increase_leads_to_the_plans_set(plan: TransitionPlan) -> None:
    parts, current = split(plan), plan.before

    if parts.reduce is not None:
        current = apply_reduce(parts.reduce, current)
    if parts.increase is not None:
        assert current == parts.increase.before
        current = merge_after_reduce(parts.increase, current)

    assert current == plan.after


@given(plans(), sets)
def test_reduce_run_takes_away_from_any_set_it_meets(plan: TransitionPlan, current: ActiveSet) -> None:
    after = apply_reduce(plan, current)

    assert is_reduction(current, after)
    assert after == apply_reduce(plan, after)


@given(st.data())
def test_what_was_cut_meanwhile_stays_cut_after_the_switch(data: st.DataObject) -> None:
    plan = data.draw(plans())
    current = data.draw(reductions(plan.before))

    content = merge_after_reduce(plan, current)

    assert is_reduction(plan.after, content)
    for key, weight in plan.before.weights.items():
        if current.weights.get(key, 0.0) < weight:
            assert content.weights.get(key, 0.0) <= current.weights.get(key, 0.0)


@given(st.data())
def test_undone_switch_brings_back_the_base_less_cuts_and_barred(data: st.DataObject) -> None:
    plan = data.draw(plans())
    replaced = data.draw(reductions(plan.before))
    switched = merge_after_reduce(plan, replaced)
    current = data.draw(reductions(switched))
    barred = frozenset(data.draw(st.sets(st.sampled_from(sorted(plan.before.weights) or [ANT]))))

    content = revert_after_reduce(plan, current, replaced=replaced, barred=barred)

    assert is_reduction(replaced, content)
    assert not barred & content.weights.keys()
    if current == switched and not barred:
        assert content == replaced


def test_gains_are_new_members_and_raises() -> None:
    gains = gaining(active_set({ANT: 0.1, BEE: 0.1, CAT: 0.2}), active_set({ANT: 0.1, BEE: 0.2, CAT: 0.1, DOG: 0.1}))

    assert gains == {BEE, DOG}


def test_gross_shift_counts_every_change_without_sign() -> None:
    assert gross_shift(SWAP) == pytest.approx(0.2)


@given(plans())
def test_stored_plan_reads_back_with_the_same_hash(plan: TransitionPlan) -> None:
    stored = parse_plan(plan.to_json())

    assert stored.plan_hash == plan.plan_hash
    assert stored.changes == plan.changes


@pytest.mark.parametrize(
    "other",
    [
        TransitionPlan("w2", 7, SWAP.policy_checksum, SWAP.before, SWAP.after),
        TransitionPlan("w1", 8, SWAP.policy_checksum, SWAP.before, SWAP.after),
        TransitionPlan("w1", 7, "sha256:other", SWAP.before, SWAP.after),
        TransitionPlan("w1", 7, SWAP.policy_checksum, SWAP.after, SWAP.before),
        TransitionPlan("w1", 7, SWAP.policy_checksum, SWAP.before, SWAP.after, ((BEE, ChangeReason.CAP),)),
    ],
)
def test_plan_hash_binds_world_base_policy_sets_and_reasons(other: TransitionPlan) -> None:
    assert other.plan_hash != SWAP.plan_hash


def test_same_change_from_another_base_is_recognized() -> None:
    moved = TransitionPlan("w1", 9, SWAP.policy_checksum, SWAP.before, SWAP.after)

    assert same_change(SWAP, moved)
    assert not same_change(SWAP, plan_of(SWAP.before, SWAP.before))


@pytest.mark.parametrize("weight", [-0.1, 1.000001, float("nan"), float("inf")])
def test_weight_that_is_no_share_is_in_no_set(weight: float) -> None:
    with pytest.raises(InputInvalidError):
        active_set({ANT: weight})


def test_entry_of_weight_zero_is_refused_and_a_set_leaves_it_out() -> None:
    assert active_set({ANT: 0.0}) == EMPTY_SET
    with pytest.raises(InputInvalidError):
        ActiveEntry(ANT, 0.0)


def test_set_that_names_an_instance_twice_is_refused() -> None:
    with pytest.raises(InputInvalidError):
        active_set([(ANT, 0.1), (ANT, 0.2)])


def test_content_hash_ignores_the_order_of_entries() -> None:
    one, two = active_set([(ANT, 0.1), (BEE, 0.2)]), active_set([(BEE, 0.2), (ANT, 0.1)])

    assert one.content_hash == two.content_hash
    assert parse_active_set(one.to_json()) == two
