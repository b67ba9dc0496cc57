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
    RemoveHold,
    RunView,
    StepFacts,
    StoreResult,
    carried_out,
    inserted_set,
)
from tests.unit.lifecycle.runs import ANT, BEE, CAT, DOG, NOW, SWAP, good_facts, plan_of, run_in, stepped

SECOND = timedelta(seconds=1)
DRAIN = timedelta(seconds=5 * 1.001 + 0.25)


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


def test_abort_does_not_bring_back_what_failed_a_gate_before_the_switch() -> None:
    run = run_in(RunState.SWITCHED)
    facts = replace(good_facts(run, current=SWAP.after), replaced=active_set({ANT: 0.1}))

    transition = fire(Event.ABORT, run, facts, NOW)

    assert inserted_set(transition.effects) == active_set({ANT: 0.1})


def test_abort_that_cannot_tell_what_was_replaced_brings_nothing_back() -> None:
    run = run_in(RunState.SWITCHED)

    transition = fire(Event.ABORT, run, replace(good_facts(run, current=SWAP.after), replaced=None), NOW)

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
