from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from qmtl_worlds.contracts.plans import EMPTY_SET, ChangeReason, active_set
from qmtl_worlds.contracts.states import RunKind, RunState
from qmtl_worlds.lifecycle.apply import Event, fire, next_step
from qmtl_worlds.lifecycle.holds import HoldKind, make_hold, own_hold
from qmtl_worlds.lifecycle.run import (
    AddHold,
    CountFenced,
    InsertSet,
    RaiseAlert,
    RemoveHold,
    RunView,
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


@pytest.mark.parametrize("state", [RunState.FREEZING, RunState.DRAINING, RunState.FROZEN, RunState.HELD])
def test_abort_before_the_switch_leaves_the_set_and_takes_the_own_hold_away(state: RunState) -> None:
    run = run_in(state)

    transition = fire(Event.ABORT, run, good_facts(run), NOW)

    assert transition.state is RunState.ROLLED_BACK
    assert inserted_set(transition.effects) is None
    assert RemoveHold(HoldKind.APPLY, "run-1") in transition.effects
    assert carried_out(run, transition).epoch == run.epoch + 1


def test_abort_after_the_switch_brings_the_base_back_before_the_gate_opens() -> None:
    run = run_in(RunState.SWITCHED)

    aborted = fire(Event.ABORT, run, good_facts(run, current=SWAP.after), NOW)
    run = carried_out(run, aborted)
    after, ended = stepped(run, good_facts(run))

    assert inserted_set(aborted.effects) == SWAP.before
    assert RemoveHold(HoldKind.APPLY, "run-1") not in aborted.effects
    assert aborted.state is RunState.ROLLING_BACK
    assert after.state is RunState.ROLLED_BACK
    assert RemoveHold(HoldKind.APPLY, "run-1") in ended.effects


def test_abort_does_not_bring_back_what_was_killed_meanwhile() -> None:
    run = run_in(RunState.SWITCHED)
    killed = frozenset({make_hold(HoldKind.KILL, "bob:bee", key=BEE)})

    transition = fire(Event.ABORT, run, good_facts(run, current=SWAP.after, holds=killed), NOW)

    assert inserted_set(transition.effects) == active_set({ANT: 0.1})


def test_resumed_run_freezes_again_with_a_new_deadline_and_a_new_drain() -> None:
    run = replace(run_in(RunState.HELD), attempts=6)

    transition = fire(Event.RESUME, run, good_facts(run), NOW + timedelta(hours=1))
    after = carried_out(run, transition)

    assert after.state is RunState.FREEZING
    assert (after.attempts, after.drain_until, after.deadline_at) == (0, None, NOW + timedelta(hours=1, minutes=5))
    assert AddHold(own_hold("run-1")) in transition.effects


def test_reduce_run_switches_and_ends_whatever_else_is_wrong() -> None:
    plan = plan_of(active_set({ANT: 0.1, BEE: 0.1}), active_set({ANT: 0.1}), bee=ChangeReason.GATE_FAIL)
    run = run_in(RunState.QUEUED, kind=RunKind.REDUCE, plan=plan)
    facts = StepFacts(
        epoch=0,
        current=active_set({ANT: 0.05, BEE: 0.1, DOG: 0.1}),
        holds=frozenset({make_hold(HoldKind.KILL, "alice")}),
        policy_checksum="sha256:other",
    )

    run, switched = stepped(run, facts)
    run, done = stepped(run, facts)

    assert inserted_set(switched.effects) == active_set({ANT: 0.05, DOG: 0.1})
    assert not [effect for effect in switched.effects if isinstance(effect, AddHold)]
    assert (run.state, done.reason) == (RunState.DONE, "completed")


def test_reduce_run_with_nothing_left_to_reduce_commits_no_set() -> None:
    plan = plan_of(active_set({BEE: 0.1}), EMPTY_SET, bee=ChangeReason.KILLED)
    run = run_in(RunState.QUEUED, kind=RunKind.REDUCE, plan=plan)

    _, transition = stepped(run, good_facts(run, current=active_set({ANT: 0.1})))

    assert transition.state is RunState.SWITCHED
    assert inserted_set(transition.effects) is None


def test_reduce_run_cannot_be_aborted() -> None:
    run = run_in(RunState.QUEUED, kind=RunKind.REDUCE)

    assert not fire(Event.ABORT, run, good_facts(run), NOW).moved


@pytest.mark.parametrize("epoch", [2, 4])
def test_step_with_another_epoch_is_fenced_and_counted(epoch: int) -> None:
    run = replace(run_in(RunState.FROZEN), epoch=3)

    transition = next_step(run, replace(good_facts(run), epoch=epoch), NOW)

    assert (transition.effects, transition.moved, transition.reason) == ((CountFenced(),), False, "fenced")


def taken_over(run: RunView) -> RunView:
    return carried_out(run, fire(Event.TAKE_OVER, run, good_facts(run), NOW))


def test_take_over_from_a_dead_worker_restarts_the_drain_and_counts() -> None:
    run = replace(run_in(RunState.DRAINING), worker_lease_until=NOW)

    after = taken_over(run)

    assert (after.epoch, after.attempts, after.drain_until) == (1, 1, NOW + DRAIN)
    assert after.worker_lease_until == NOW + timedelta(seconds=3)


def test_take_over_never_shortens_a_drain() -> None:
    late = NOW + timedelta(minutes=1)
    run = replace(run_in(RunState.DRAINING), worker_lease_until=NOW, drain_until=late)

    assert taken_over(run).drain_until == late


def test_claim_of_a_run_that_was_given_back_keeps_its_drain() -> None:
    run = run_in(RunState.DRAINING)

    after = taken_over(run)

    assert (after.epoch, after.attempts, after.drain_until) == (1, 0, run.drain_until)


def test_run_of_a_living_worker_is_not_taken_over() -> None:
    run = replace(run_in(RunState.DRAINING), worker_lease_until=NOW + SECOND)

    assert not fire(Event.TAKE_OVER, run, good_facts(run), NOW).moved


def test_sixth_dead_worker_leaves_the_run_to_a_person() -> None:
    run = replace(run_in(RunState.DRAINING), worker_lease_until=NOW, attempts=5)

    run = taken_over(run)
    _, transition = stepped(run, good_facts(run))

    assert transition.state is RunState.HELD


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (Event.REJECT, "rejected"),
        (Event.EXPIRE, "expired"),
        (Event.SUPERSEDE, "superseded"),
        (Event.CANCEL, "cancelled"),
    ],
)
def test_run_that_waits_for_approval_can_end(event: Event, reason: str) -> None:
    run = run_in(RunState.REQUESTED)

    transition = fire(event, run, good_facts(run), NOW)

    assert (transition.state, transition.reason) == (RunState.CANCELLED, reason)
    assert StoreResult(RunState.CANCELLED, reason) in transition.effects


def test_approval_that_is_not_enough_moves_nothing() -> None:
    run = run_in(RunState.REQUESTED)

    assert not fire(Event.APPROVE, run, replace(good_facts(run), approved=False), NOW).moved
    assert fire(Event.APPROVE, run, good_facts(run), NOW).state is RunState.QUEUED


def test_unapproved_run_is_not_stepped() -> None:
    run = run_in(RunState.REQUESTED)

    assert not next_step(run, good_facts(run), NOW).moved


def test_position_policy_holds_who_came_and_who_left_until_they_are_flat() -> None:
    run = replace(run_in(RunState.FROZEN), flat_on_promote=True, flat_on_demote=True)

    _, transition = stepped(run, good_facts(run))

    flats = [effect.hold.key for effect in transition.effects if isinstance(effect, AddHold)]
    assert flats == [BEE, CAT]


def test_undone_switch_lets_go_of_what_it_wanted_flat() -> None:
    run = replace(run_in(RunState.SWITCHED), flat_on_promote=True, flat_on_demote=True)

    transition = fire(Event.ABORT, run, good_facts(run, current=SWAP.after), NOW)

    freed = [effect.owner for effect in transition.effects if isinstance(effect, RemoveHold)]
    assert freed == ["run-1:bee|long", "run-1:cat|long"]
    assert isinstance(transition.effects[1], InsertSet)
