from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl_worlds.contracts.states import (
    EXCLUSIVE_STATES,
    HOLDING_STATES,
    LIVE_STATES,
    TERMINAL_STATES,
    RunKind,
    RunState,
    wire_word,
)
from qmtl_worlds.lifecycle import actions, guards
from qmtl_worlds.lifecycle.apply import TRANSITIONS, Event, Guard, Rule, asks, fire, initial_state, transition_table
from qmtl_worlds.lifecycle.guards import Moment
from qmtl_worlds.lifecycle.run import DEFAULT_TIMINGS, AddHold, InsertSet, RemoveHold, StepFacts, StoreResult
from tests.unit.lifecycle.runs import NOW, good_facts, run_in

INCREASE = [rule for rule in TRANSITIONS if rule.kind is RunKind.INCREASE]
REDUCE = [rule for rule in TRANSITIONS if rule.kind is RunKind.REDUCE]


def reachable(rules: list[Rule], start: RunState) -> set[RunState]:
    seen, todo = {start}, [start]
    while todo:
        state = todo.pop()
        new = {rule.target for rule in rules if rule.source is state} - seen
        seen |= new
        todo += new
    return seen


def test_no_row_leaves_a_terminal_state() -> None:
    assert not [rule for rule in TRANSITIONS if rule.source in TERMINAL_STATES]


def test_every_state_is_reached_by_an_increase_and_ends() -> None:
    assert reachable(INCREASE, RunState.REQUESTED) == set(RunState)
    for state in RunState:
        assert reachable(INCREASE, state) & TERMINAL_STATES


def test_reduce_run_knows_only_queued_switched_and_done() -> None:
    assert reachable(REDUCE, RunState.QUEUED) == {RunState.QUEUED, RunState.SWITCHED, RunState.DONE}
    assert initial_state(RunKind.REDUCE, needs_approval=True) is RunState.QUEUED


def test_increase_run_waits_for_approval_only_where_one_is_needed() -> None:
    assert initial_state(RunKind.INCREASE, needs_approval=True) is RunState.REQUESTED
    assert initial_state(RunKind.INCREASE, needs_approval=False) is RunState.QUEUED


@pytest.mark.parametrize("dropped", [guards.approved, guards.drained, guards.set_valid, guards.hold_present])
def test_no_increase_is_switched_without_each_proof(dropped: object) -> None:
    without = [rule for rule in INCREASE if dropped not in rule.guards]

    assert RunState.SWITCHED not in reachable(without, RunState.REQUESTED)


def test_no_increase_freezes_without_approval() -> None:
    without = [rule for rule in INCREASE if guards.approved not in rule.guards]

    assert RunState.FREEZING not in reachable(without, RunState.REQUESTED)


def test_every_way_into_the_switch_comes_from_frozen_and_every_way_there_is_drained() -> None:
    into_switched = {rule.source for rule in INCREASE if rule.target is RunState.SWITCHED} - {RunState.SWITCHED}
    into_frozen = [rule for rule in INCREASE if rule.target is RunState.FROZEN and rule.source is not RunState.FROZEN]

    assert into_switched == {RunState.FROZEN}
    assert all(guards.drained in rule.guards for rule in into_frozen)


def test_drain_clock_never_starts_in_the_step_that_freezes() -> None:
    freezing = [rule for rule in TRANSITIONS if actions.freeze in rule.actions]

    assert freezing
    assert all(actions.start_drain not in rule.actions for rule in freezing)


def test_gate_reopens_in_one_step_only_together_with_the_end_of_the_run() -> None:
    releasing = [rule for rule in TRANSITIONS if actions.unfreeze in rule.actions]
    ending = [rule for rule in INCREASE if rule.source in HOLDING_STATES and rule.target in TERMINAL_STATES]

    assert releasing
    assert all(rule.target in TERMINAL_STATES for rule in releasing)
    assert all(actions.unfreeze in rule.actions for rule in ending)


def test_every_live_state_can_be_taken_over() -> None:
    covered = {rule.source for rule in INCREASE if rule.event is Event.TAKE_OVER}

    assert covered == LIVE_STATES
    assert RunState.HELD not in covered


def test_states_that_exclude_others_are_those_after_approval() -> None:
    assert reachable(INCREASE, RunState.QUEUED) - TERMINAL_STATES == EXCLUSIVE_STATES


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (RunState.REQUESTED, "awaiting_approval"),
        (RunState.QUEUED, "requested"),
        (RunState.FREEZING, "freeze"),
        (RunState.DRAINING, "drain"),
        (RunState.FROZEN, "drain"),
        (RunState.SWITCHED, "unfreeze"),
        (RunState.DONE, "completed"),
        (RunState.ROLLED_BACK, "rolled_back"),
        (RunState.HELD, "held"),
        (RunState.CANCELLED, "cancelled"),
    ],
)
def test_wire_words_are_those_of_the_protocol(state: RunState, word: str) -> None:
    assert wire_word(state) == word


def test_table_as_text_has_a_line_for_every_row() -> None:
    lines = transition_table().splitlines()

    assert len(lines) == 2 + len(TRANSITIONS)
    assert "| reduce | queued | step | - | switch | switched | switched |" in lines


@given(
    st.sampled_from(sorted(RunState)),
    st.sampled_from(sorted(RunKind)),
    st.sampled_from(sorted(Event)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_any_event_in_any_state_has_an_answer(
    state: RunState, kind: RunKind, event: Event, approved: bool, held: bool, valid: bool
) -> None:
    run = run_in(state, kind=kind)
    facts = good_facts(run)
    facts = type(facts)(
        facts.epoch,
        facts.current,
        facts.holds if held else frozenset(),
        facts.policy_checksum,
        approved=approved,
        admissible=facts.admissible,
        set_valid=valid,
    )

    transition = fire(event, run, facts, NOW)

    if state in TERMINAL_STATES:
        assert not transition.moved
    if not transition.moved:
        assert (transition.state, transition.effects) == (state, ())
    results = [effect for effect in transition.effects if isinstance(effect, StoreResult)]
    assert len(results) == (transition.moved and transition.state in TERMINAL_STATES)


def test_only_steps_and_aborts_touch_sets_and_only_the_own_hold_is_removed() -> None:
    for state, kind, event in product(RunState, RunKind, Event):
        run = run_in(state, kind=kind)

        transition = fire(event, run, good_facts(run), NOW)

        if any(isinstance(effect, InsertSet) for effect in transition.effects):
            assert event in {Event.STEP, Event.ABORT}
        for effect in transition.effects:
            if isinstance(effect, RemoveHold):
                assert effect.owner.startswith("run-1")
            if isinstance(effect, AddHold):
                assert effect.hold.owner.startswith("run-1")


@pytest.mark.parametrize(
    ("unread", "questions"),
    [
        (lambda facts: replace(facts, approved=False), (guards.approved, guards.unapproved)),
        (lambda facts: replace(facts, admissible=frozenset()), (guards.gains_fresh, guards.gains_stale)),
        (lambda facts: replace(facts, set_valid=False), (guards.set_valid, guards.set_invalid)),
    ],
)
def test_fact_that_an_event_does_not_ask_for_changes_nothing(
    unread: Callable[[StepFacts], StepFacts], questions: tuple[Guard, ...]
) -> None:
    depends = set()
    for kind, state, event, deaths in product(RunKind, RunState, Event, (0, DEFAULT_TIMINGS.max_attempts + 1)):
        run = replace(run_in(state, kind=kind), attempts=deaths)
        proven = good_facts(run)
        if fire(event, run, proven, NOW) != fire(event, run, unread(proven), NOW):
            depends.add((kind, state, event))
            assert asks(event, run, *questions, now=NOW, timings=DEFAULT_TIMINGS), (kind, state, event)

    assert depends


@pytest.mark.parametrize("state", [RunState.FREEZING, RunState.DRAINING, RunState.FROZEN, RunState.SWITCHED])
def test_overdue_run_is_held_without_asking_for_facts(state: RunState) -> None:
    run = replace(run_in(state), attempts=DEFAULT_TIMINGS.max_attempts + 1)
    questions = {guard for rule in TRANSITIONS for guard in rule.guards} - {guards.overdue}

    asked = asks(Event.STEP, run, *questions, now=NOW, timings=DEFAULT_TIMINGS)

    assert not asked
    assert fire(Event.STEP, run, good_facts(run), NOW).state is RunState.HELD


@pytest.mark.parametrize("guard", guards.OF_THE_RUN)
def test_guard_of_the_run_looks_at_no_fact(guard: Guard) -> None:
    for state, until in product(RunState, (None, NOW)):
        run = replace(run_in(state), worker_lease_until=until)
        known, unknown = (
            Moment(run, facts, DEFAULT_TIMINGS, NOW) for facts in (good_facts(run), StepFacts.unread(epoch=run.epoch))
        )

        assert guard(known) == guard(unknown)
