from __future__ import annotations

from dataclasses import replace

import pytest

from qmtl_worlds.contracts.lease import Position
from torture.fencing import Fences
from torture.history import Commit, Step
from torture.ledger import Answer, Copy, Held, Ledger

W = "w1"
KEY = "good|long"
APPLY = ("apply", "reduce_only", "")
MEMBERS = {1: {KEY: 0.3}, 2: {KEY: 0.3, "better|long": 0.3}, 3: {KEY: 0.3}}


def at(sequence: int, incarnation: int = 1) -> Position:
    return Position(incarnation, sequence, 0)


def commit(sequence: int, generation: int, *holds: tuple[str, str, str]) -> Commit:
    """A state that was committed, and seen, at the time of its sequence."""
    return Commit(sequence, W, at(sequence), generation, frozenset(holds), float(sequence))


@pytest.fixture
def ledger() -> Ledger:
    """Open in 10, frozen in 20, switched in 22, open again in 23, with leases of one second."""
    made = Ledger(members=lambda _world, number: MEMBERS[number], lease_seconds=1.0, slack_seconds=0.1)
    for one in (commit(10, 1), commit(20, 1, APPLY), commit(22, 2, APPLY), commit(23, 2)):
        made.commit(one, seen_at=one.at)
    return made


def found(ledger: Ledger, *told: Answer | Copy | Held) -> list[str]:
    for one in told:
        ledger.judge(one)
    ledger.settle(looked_at=1000.0)
    return [violation.what for violation in ledger.violations]


RIGHT = Answer("api", W, KEY, at(10), 1, active=True, weight=0.3, asked=11.0, at=11.1)
CLOSED = Answer("api", W, KEY, at(20), 1, active=False, weight=0.0, asked=20.5, at=20.6)
COPY = Copy(W, at(10), 1, {KEY: 0.3}, asked=20.5)
HELD = Held("runner", W, KEY, at(10), 1, until=20.9)


def test_answers_that_were_committed_are_right(ledger: Ledger) -> None:
    unproven = replace(RIGHT, active=False, weight=0.0, reason="expired")

    assert found(ledger, RIGHT, CLOSED, COPY, HELD, unproven) == []


@pytest.mark.parametrize(
    "wrong",
    [
        replace(RIGHT, weight=0.2),
        replace(RIGHT, generation=2),
        replace(RIGHT, active=False, weight=0.0, reason="not_selected"),
        replace(CLOSED, active=True, weight=0.3),
        replace(CLOSED, active=True, weight=0.3, reason="expired"),
    ],
)
def test_answer_that_differs_from_what_was_committed_is_a_violation(ledger: Ledger, wrong: Answer) -> None:
    assert found(ledger, wrong) == ["an answer is not what was committed"]


def test_answer_of_a_state_that_never_was_is_a_violation(ledger: Ledger) -> None:
    assert found(ledger, replace(RIGHT, position=at(11))) == ["an answer was never committed"]


def test_answer_after_a_kill_beside_a_change_is_made_of_both(ledger: Ledger) -> None:
    """The change to 24 was under way when somebody killed: its row knows no kill, and the kill's knows no 24."""
    kill = Commit(30, W, Position(1, 23, 1), 2, frozenset({("kill", "closed", "")}), 23.5)
    for one in (kill, commit(24, 3)):
        ledger.commit(one, seen_at=24.0)
    killed = Answer("api", W, KEY, Position(1, 24, 1), 3, active=False, weight=0.0, asked=24.1, at=24.2)

    assert found(ledger, killed) == []
    assert found(ledger, replace(killed, active=True, weight=0.3)) == ["an answer is not what was committed"]
    assert found(ledger, replace(killed, position=Position(1, 24, 2)))[1:] == ["an answer was never committed"]


def test_answer_after_a_kill_beside_a_fence_is_made_of_both(ledger: Ledger) -> None:
    boot = ("boot", "closed", "")
    kill = Commit(30, W, Position(1, 23, 1), 2, frozenset({("kill", "closed", "")}), 23.5)
    fence = Commit(31, W, at(24, 2), 2, frozenset({boot}), 23.6)
    for one in (kill, fence):
        ledger.commit(one, seen_at=24.0)
    closed = Answer("api", W, KEY, Position(2, 24, 1), 2, active=False, weight=0.0, asked=24.1, at=24.2)

    assert found(ledger, closed) == []


def test_answer_older_than_what_was_known_before_it_was_asked_for_is_a_violation(ledger: Ledger) -> None:
    late = replace(RIGHT, asked=20.2, at=20.3)

    assert found(ledger, late) == ["an answer is older than what was known"]


def test_answer_may_be_as_old_as_it_says(ledger: Ledger) -> None:
    assert found(ledger, replace(RIGHT, asked=20.2, at=20.3, stale_seconds=1.0)) == []


def test_acknowledged_close_is_known_before_the_history_shows_it(ledger: Ledger) -> None:
    ledger.known(W, at(20), at=19.0)

    assert found(ledger, replace(RIGHT, asked=19.5, at=19.6)) == ["an answer is older than what was known"]


def test_copy_that_mixes_two_sets_is_a_violation(ledger: Ledger) -> None:
    assert found(ledger, replace(COPY, entries={KEY: 0.3, "better|long": 0.3})) == ["Redis holds a mix"]


def test_copy_may_be_closed_by_a_kill_that_only_its_file_stands_for(ledger: Ledger) -> None:
    assert found(ledger, replace(COPY, entries={}, unproven=frozenset({KEY}))) == []
    assert found(ledger, replace(COPY, entries={})) == ["Redis holds a mix"]


def test_copy_that_lives_longer_than_its_lease_is_a_violation(ledger: Ledger) -> None:
    assert found(ledger, replace(COPY, asked=21.2)) == ["Redis holds what is dead"]


def test_permission_that_lives_past_the_close_and_its_lease_is_a_violation(ledger: Ledger) -> None:
    assert found(ledger, replace(HELD, until=21.2)) == ["a permission outlived its lease"]


def test_permission_that_lives_at_the_switch_is_a_violation() -> None:
    ledger = Ledger(members=lambda _world, number: MEMBERS[number], lease_seconds=1.0, slack_seconds=0.1)
    for one in (commit(10, 1), commit(20, 1, APPLY), replace(commit(21, 2, APPLY), at=20.5), commit(23, 2)):
        ledger.commit(one, seen_at=one.at)

    assert found(ledger, HELD) == ["a permission outlived the switch"]


def test_permission_may_live_at_a_switch_that_only_takes_away() -> None:
    ledger = Ledger(members=lambda _world, number: MEMBERS[number], lease_seconds=1.0, slack_seconds=0.1)
    for one in (commit(10, 2), commit(20, 3)):
        ledger.commit(one, seen_at=one.at)

    assert found(ledger, Held("runner", W, KEY, at(10), 2, until=20.9)) == []


def test_generation_that_falls_is_a_violation(ledger: Ledger) -> None:
    ledger.commit(commit(24, 1), seen_at=24.0)

    assert [one.invariant for one in ledger.violations] == ["I6"]


def test_what_was_told_after_the_last_look_waits_for_the_next(ledger: Ledger) -> None:
    ledger.judge(replace(RIGHT, position=at(30), asked=30.0, at=30.1))
    ledger.settle(looked_at=30.05)
    early = list(ledger.violations)
    ledger.settle(looked_at=31.0)

    assert early == []
    assert len(ledger.violations) == 1


STEP = Step(1, W, "r1", "increase", "queued", "freezing", 1, "worker-1", 1.0)


def test_process_that_goes_on_under_its_own_epoch_is_right() -> None:
    fences = Fences()
    for step in (STEP, replace(STEP, state="draining"), replace(STEP, epoch=2, writer="worker-2")):
        fences.step(step)

    assert fences.violations == []


def test_process_that_goes_on_under_another_ones_epoch_is_a_violation() -> None:
    fences = Fences()
    for step in (STEP, replace(STEP, state="draining", writer="worker-2")):
        fences.step(step)

    assert [one.invariant for one in fences.violations] == ["I6"]


def test_two_increases_under_way_are_a_violation() -> None:
    fences = Fences()
    for step in (STEP, replace(STEP, run_id="r2", state="queued", epoch=0)):
        fences.step(step)

    assert [one.invariant for one in fences.violations] == ["I3"]
