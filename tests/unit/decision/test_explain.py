from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from qmtl_worlds.contracts.reasons import Outcome, Reason, Stage
from qmtl_worlds.explain import WORDS, explain, first_obstacle
from tests.unit.decision.worlds import NOW, Instance, evaluate, exposure, policy, recorded

SCREEN = 40


def test_every_reason_has_its_words() -> None:
    assert WORDS.keys() == set(Reason)
    assert len(set(WORDS.values())) == len(WORDS)


@pytest.mark.parametrize("reason", list(Reason), ids=str)
@pytest.mark.parametrize("outcome", list(Outcome), ids=str)
def test_every_outcome_is_told_for_every_reason(outcome: Outcome, reason: Reason) -> None:
    row = recorded(evaluate([Instance("a")]), "a")

    text = explain(replace(row, outcome=outcome, reason=reason))

    assert text.startswith("a|long ")
    assert WORDS[reason] in text.splitlines()[0]
    assert len(text.splitlines()) <= SCREEN


def test_a_failed_gate_is_told_with_value_threshold_and_margin() -> None:
    text = explain(recorded(evaluate([Instance("a", ok=-0.25)]), "a"))

    assert text.splitlines()[0] == "a|long is not active: it fails a gate."
    assert "First rule in the way: gates: reported.ok > 0; -0.25 against 0, 0.25 off" in text


def test_a_blocked_candidate_is_told_with_its_blockers() -> None:
    rules = policy(constraints=exposure(sector_cap={"per_sector": 0.4}))

    text = explain(recorded(evaluate([Instance("a", score=3.0), Instance("b")], rules), "b"))

    assert text.splitlines()[0] == "b|long is not active: its sector would hold too much of the capital."
    assert "0.6 against 0.4, 0.2 off" in text
    assert "blocked by a|long" in text


def test_a_waiting_candidate_is_told_how_long_it_has_to_wait() -> None:
    rules = policy(hysteresis={"promote_after": 3, "min_dwell": "2d"})

    text = explain(recorded(evaluate([Instance("a", since=NOW - timedelta(hours=12))], rules), "a"))

    assert "streak 1 of 3, 1.5 d of dwell left" in text


def test_a_stale_member_is_told_how_stale_it_is() -> None:
    text = explain(recorded(evaluate([Instance("a", active=True, fresh_for=-timedelta(minutes=90))]), "a"))

    assert "stays active at 30 % of capital: it cannot be judged now" in text
    assert "data no older than 300 s; 1.5 h too old; its data are too old" in text


def test_a_member_in_the_target_meets_no_obstacle() -> None:
    text = explain(recorded(evaluate([Instance("a", active=True)]), "a"))

    assert text.splitlines()[0] == "a|long stays active at 30 % of capital: it is in the target."
    assert "First rule in the way" not in text


def test_a_short_history_is_told_with_what_is_missing() -> None:
    text = explain(recorded(evaluate([Instance("a")], policy(min_history="60d")), "a"))

    assert "First rule in the way: history: history of 60 sessions; 40 against 60, 20 off" in text


def test_a_branch_that_another_one_makes_up_for_is_no_obstacle() -> None:
    rules = policy(gates={"or": ["reported.ok > 5", "reported.ok > 0"]})

    text = explain(recorded(evaluate([Instance("a", active=True)], rules), "a"))

    assert "First rule in the way" not in text
    assert "gates       FAIL     reported.ok > 5; 1 against 5, 4 off" in text


def test_the_obstacle_of_a_refusing_gate_is_the_condition_that_holds() -> None:
    rules = policy(gates={"not": ["reported.ok > 5", "reported.ok < 0"]})

    text = explain(recorded(evaluate([Instance("a", ok=-1.0)], rules), "a"))

    assert "First rule in the way: gates: not (reported.ok < 0); -1 against 0, 1 off; it fails a gate" in text
    assert "gates       ok       not (reported.ok > 5); -1 against 5, 6 to spare" in text


def test_a_failed_condition_is_the_obstacle_before_one_that_is_only_unknown() -> None:
    rules = policy(gates={"and": ["reported.other > 0", {"or": ["reported.ok > 1", "reported.ok < -1"]}]})

    text = explain(recorded(evaluate([Instance("a", ok=0.0)], rules), "a"))

    assert text.splitlines()[0] == "a|long is not active: it fails a gate."
    assert "First rule in the way: gates: reported.ok > 1; 0 against 1, 1 off" in text


@pytest.mark.parametrize(("ok", "passes"), [(2.0, True), (0.0, False), (None, False)])
def test_gates_nested_under_not_name_an_obstacle_exactly_where_they_do_not_pass(ok: float | None, passes: bool) -> None:
    rules = policy(gates={"not": [{"or": ["reported.ok < 1", {"and": ["reported.ok > 5", "reported.ok > 0"]}]}]})

    row = recorded(evaluate([Instance("a", ok=ok)], rules), "a")

    blocking = [step for step in row.steps if step.stage is Stage.GATES and step.reason is not Reason.OK]
    assert bool(blocking) is not passes
    assert first_obstacle(row.steps) == (None if passes else blocking[0])
