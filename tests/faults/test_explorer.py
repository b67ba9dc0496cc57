from __future__ import annotations

from functools import cache
from typing import cast

import pytest

from formal.explorer import EVERY_TIME, EXTENDED, Report, explore
from formal.mutants import search
from formal.patches import Patch, patched
from formal.states import Scope
from qmtl_worlds.lifecycle import apply
from qmtl_worlds.lifecycle.apply import TRANSITIONS, Rule
from qmtl_worlds.lifecycle.guards import Moment
from qmtl_worlds.lifecycle.run import Transition
from tests.faults.extended import only_extended

pytestmark = pytest.mark.slow


TAKEN: set[Rule] = set()
take = vars(apply)["_taken"]
NEVER_MET = {
    # Nobody takes an apply's hold away.
    *(f"increase {state} step hold_missing" for state in ("freezing", "draining", "frozen", "switched")),
    # Nothing but an increase run adds to the set, and there is one at a time.
    "increase queued step stale_base",
    "increase frozen step stale_base",
    # The same as a cancellation.
    "increase requested reject rejected",
    "increase requested expire expired",
    # A worker that claims a queued run takes it further in the same transaction, and gives one back only if it waits.
    "reduce queued take_over taken_over",
    "increase queued take_over taken_over",
    "reduce switched take_over claimed",
    *(f"increase {state} take_over claimed" for state in ("frozen", "switched", "rolling_back")),
}


@cache
def explored(scope: Scope) -> Report:
    with patched([Patch(apply, "_taken", taken)]):
        return explore(scope)


def taken(rule: Rule, moment: Moment) -> Transition:
    TAKEN.add(rule)
    return cast("Transition", take(rule, moment))


@pytest.mark.parametrize("scope", EVERY_TIME)
def test_no_reachable_state_breaks_an_invariant_or_is_a_dead_end(scope: Scope) -> None:
    report = explored(scope)

    assert not report.violation, str(report)
    assert report.complete


def test_explored_worlds_have_150_000_states_together() -> None:
    assert sum(explored(scope).states for scope in EVERY_TIME) >= 150_000


def test_exploration_takes_every_row_of_the_table_that_can_be_reached() -> None:
    for scope in EVERY_TIME:
        explored(scope)

    missed = {f"{rule.kind} {rule.source} {rule.event} {rule.reason}" for rule in TRANSITIONS if rule not in TAKEN}

    assert missed == NEVER_MET


def test_exploration_that_is_cut_short_says_so() -> None:
    report = explore(EVERY_TIME[0], most_states=100)

    assert (report.complete, report.violation) == (False, "")


@only_extended
@pytest.mark.parametrize("scope", EXTENDED)
def test_no_state_of_a_larger_world_breaks_an_invariant(scope: Scope) -> None:
    report = explore(scope, most_states=2_000_000)

    assert not report.violation, str(report)


def test_counter_example_is_a_trace_to_read() -> None:
    lines = str(search("B11")).splitlines()

    assert lines[:2] == ["I1c: a permission is alive after the drain", "  1. runner 0 reads"]
    assert lines[-2] == "  8. worker 0's commit becomes visible"
