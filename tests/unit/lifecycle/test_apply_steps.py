from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from qmtl_worlds.contracts.plans import active_set
from qmtl_worlds.contracts.states import RunState
from qmtl_worlds.lifecycle.apply import next_step
from qmtl_worlds.lifecycle.holds import HoldKind, make_hold, own_hold
from qmtl_worlds.lifecycle.run import (
    AddHold,
    RaiseAlert,
    RemoveHold,
    StepFacts,
    StoreResult,
    Timings,
    carried_out,
    inserted_set,
)
from tests.unit.lifecycle.runs import ANT, BEE, CAT, DOG, NOW, SWAP, good_facts, plan_of, run_in, stepped

SECOND = timedelta(seconds=1)
DRAIN = timedelta(seconds=5 * 1.001 + 0.25)


def test_increase_goes_through_freeze_drain_switch_and_unfreeze() -> None:
    run, states = run_in(RunState.QUEUED), []
    for tick in range(20):
        run, transition = stepped(run, good_facts(run), NOW + tick * SECOND)
        if transition.moved:
            states.append((tick, transition.state))

    assert states == [
        (0, RunState.FREEZING),
        (1, RunState.DRAINING),
        (7, RunState.FROZEN),  # 1 + 5.255 s
        (8, RunState.SWITCHED),
        (9, RunState.DONE),
    ]


def test_freeze_puts_the_own_hold_raises_the_epoch_and_sets_the_deadline() -> None:
    run = run_in(RunState.QUEUED)

    after, transition = stepped(run, good_facts(run))

    assert AddHold(own_hold("run-1")) in transition.effects
    assert transition.visible
    assert (after.epoch, after.deadline_at, after.drain_until) == (1, NOW + timedelta(minutes=5), None)


def test_drain_starts_from_the_step_after_the_freeze() -> None:
    run = run_in(RunState.FREEZING)

    after, _ = stepped(run, good_facts(run), NOW + SECOND)

    assert after.drain_until == NOW + SECOND + DRAIN


def test_drain_of_a_long_closed_world_is_over_at_once() -> None:
    run = run_in(RunState.FREEZING)

    after, _ = stepped(run, replace(good_facts(run), closed_since=NOW - timedelta(hours=1)))

    assert after.drain_until is not None
    assert after.drain_until < NOW


def test_drain_never_starts_in_the_future_of_the_step() -> None:
    run = run_in(RunState.FREEZING)

    after, _ = stepped(run, replace(good_facts(run), closed_since=NOW + timedelta(hours=1)))

    assert after.drain_until == NOW + DRAIN


def test_drain_that_this_process_has_not_watched_waits_whatever_the_database_says() -> None:
    run = replace(run_in(RunState.DRAINING), drain_until=NOW - timedelta(hours=1))

    assert not next_step(run, replace(good_facts(run), watched_seconds=5.0), NOW).moved
    assert next_step(run, replace(good_facts(run), watched_seconds=5.006), NOW).state is RunState.FROZEN


def test_drain_of_a_world_that_never_permitted_anything_needs_no_watching() -> None:
    run = run_in(RunState.DRAINING)
    facts = replace(good_facts(run), watched_seconds=0.0, closed_since=NOW - timedelta(hours=1))

    assert next_step(run, facts, NOW).state is RunState.FROZEN


def test_drain_that_is_not_over_waits() -> None:
    run = replace(run_in(RunState.DRAINING), drain_until=NOW + timedelta(microseconds=1))

    transition = next_step(run, good_facts(run), NOW)

    assert (transition.moved, transition.reason) == (False, "waiting")


def test_drain_follows_the_lease_of_the_world() -> None:
    run = run_in(RunState.FREEZING)

    transition = next_step(run, good_facts(run), NOW, timings=Timings(lease_seconds=60.0))

    assert carried_out(run, transition).drain_until == NOW + timedelta(seconds=60.06 + 0.25)


def test_switch_commits_the_plans_set_less_what_was_cut_meanwhile() -> None:
    plan = plan_of(active_set({ANT: 0.2, BEE: 0.1, DOG: 0.1}), active_set({ANT: 0.3, CAT: 0.1, DOG: 0.1}))
    run = run_in(RunState.FROZEN, plan=plan)

    _, transition = stepped(run, good_facts(run, current=active_set({ANT: 0.05, BEE: 0.1})))

    assert inserted_set(transition.effects) == active_set({ANT: 0.05, CAT: 0.1})


def test_unfreeze_removes_the_own_hold_only_and_stores_the_result() -> None:
    run = run_in(RunState.SWITCHED)

    _, transition = stepped(run, good_facts(run, holds=frozenset({make_hold(HoldKind.CIRCUIT, "w1")})))

    removed = [effect for effect in transition.effects if isinstance(effect, RemoveHold)]
    assert removed == [RemoveHold(HoldKind.APPLY, "run-1")]
    assert StoreResult(RunState.DONE, "completed") in transition.effects


def without(facts: StepFacts, proof: str) -> StepFacts:
    tripped = facts.holds | {make_hold(HoldKind.CIRCUIT, "w1")}
    return {
        "approval_lapsed": replace(facts, approved=False),
        "stale_base": replace(facts, current=active_set({DOG: 0.1})),
        "policy_changed": replace(facts, policy_checksum="sha256:other"),
        "stale": replace(facts, admissible=frozenset({ANT})),
        "blocked": replace(facts, holds=tripped),
    }[proof]


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.FROZEN])
@pytest.mark.parametrize("reason", ["approval_lapsed", "stale_base", "policy_changed", "stale", "blocked"])
def test_increase_that_lost_a_proof_is_cancelled_with_the_reason(state: RunState, reason: str) -> None:
    run = run_in(state)

    _, transition = stepped(run, without(good_facts(run), reason))

    assert (transition.state, transition.reason) == (RunState.CANCELLED, reason)
    assert inserted_set(transition.effects) is None
    assert (RemoveHold(HoldKind.APPLY, "run-1") in transition.effects) == (state is RunState.FROZEN)


@pytest.mark.parametrize("kind", [HoldKind.KILL, HoldKind.FREEZE, HoldKind.SUSPENDED, HoldKind.STALE_RISK])
def test_hold_that_forbids_increases_cancels_before_the_switch(kind: HoldKind) -> None:
    run = run_in(RunState.FROZEN)

    _, transition = stepped(run, good_facts(run, holds=frozenset({make_hold(kind, "alice")})))

    assert (transition.state, transition.reason) == (RunState.CANCELLED, "blocked")


def test_kill_of_an_instance_that_gains_cancels_and_of_another_does_not() -> None:
    run = run_in(RunState.FROZEN)
    killed = {key: frozenset({make_hold(HoldKind.KILL, f"bob:{key.text}", key=key)}) for key in (CAT, DOG)}

    assert stepped(run, good_facts(run, holds=killed[CAT]))[1].reason == "stale"
    assert stepped(run, good_facts(run, holds=killed[DOG]))[1].state is RunState.SWITCHED


@pytest.mark.parametrize("state", [RunState.FREEZING, RunState.DRAINING, RunState.FROZEN, RunState.SWITCHED])
def test_run_that_is_overdue_is_held_with_its_hold_and_an_alert(state: RunState) -> None:
    run = run_in(state)

    after, transition = stepped(run, good_facts(run), NOW + timedelta(minutes=5, seconds=1))

    assert (transition.state, transition.reason) == (RunState.HELD, "overdue")
    assert not [effect for effect in transition.effects if isinstance(effect, RemoveHold) and effect.owner == "run-1"]
    assert RaiseAlert("run_held", "run-1") in transition.effects
    assert after.epoch == run.epoch + 1


@pytest.mark.parametrize("state", [RunState.FREEZING, RunState.DRAINING, RunState.FROZEN, RunState.SWITCHED])
def test_run_whose_hold_has_gone_puts_it_back_and_is_held(state: RunState) -> None:
    run = run_in(state)

    _, transition = stepped(run, replace(good_facts(run), holds=frozenset()))

    assert (transition.state, transition.reason) == (RunState.HELD, "hold_missing")
    assert AddHold(own_hold("run-1")) in transition.effects


def test_set_that_breaks_a_budget_is_never_committed() -> None:
    run = run_in(RunState.FROZEN)

    _, transition = stepped(run, replace(good_facts(run), set_valid=False))

    assert (transition.state, transition.reason) == (RunState.HELD, "set_invalid")
    assert inserted_set(transition.effects) is None


def test_frozen_run_whose_clock_jumped_back_waits_for_its_drain() -> None:
    run = run_in(RunState.FROZEN)

    transition = next_step(run, good_facts(run), NOW - SECOND)

    assert not transition.moved


def test_held_after_the_switch_has_the_previous_content_again() -> None:
    run = run_in(RunState.SWITCHED)

    _, transition = stepped(run, good_facts(run, current=SWAP.after), NOW + timedelta(hours=1))

    assert inserted_set(transition.effects) == SWAP.before
