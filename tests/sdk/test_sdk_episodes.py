"""Each wait for a flat position is told once, also where another hold hides it for a while."""

from __future__ import annotations

from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.sdk.episodes import FlatWatch
from qmtl_worlds.sdk.permission import grant, no_permission
from qmtl_worlds.sdk.verdict import GateRules
from tests.sdk.activations import STRATEGY, activation
from tests.sdk.wire import SHUT

RULES = GateRules()
KEY = InstanceKey(STRATEGY, Side.LONG)


def told(*seen: tuple[str, int]) -> list[bool]:
    """Return, for each reason and generation seen in turn, whether that was news."""
    watch = FlatWatch()
    found = []
    for sequence, (reason, generation) in enumerate(seen):
        facts = {"reason": reason, "generation": generation}
        held = activation(at=(1, sequence, 0), **(facts if reason == "active" else {**SHUT, **facts}))
        found.append(watch.news({"long": grant(held, deadline=0.0, rules=RULES)}) == [KEY])
    return found


def test_wait_is_told_once() -> None:
    assert told(("active", 1), ("awaiting_flat", 2), ("awaiting_flat", 2)) == [False, True, False]


def test_wait_that_another_hold_hides_is_not_told_again() -> None:
    assert told(("awaiting_flat", 2), ("killed", 2), ("awaiting_flat", 2)) == [True, False, False]


def test_wait_that_lasts_into_another_generation_is_the_same() -> None:
    assert told(("awaiting_flat", 2), ("awaiting_flat", 3), ("freeze", 3), ("awaiting_flat", 3)) == [
        True,
        False,
        False,
        False,
    ]


def test_next_wait_is_told_after_the_gate_was_open_or_the_instance_out() -> None:
    assert told(("awaiting_flat", 2), ("active", 2), ("awaiting_flat", 3)) == [True, False, True]
    assert told(("awaiting_flat", 2), ("not_selected", 3), ("awaiting_flat", 4)) == [True, False, True]


def test_gate_without_an_answer_waits_for_nothing() -> None:
    assert FlatWatch().news({"long": no_permission(RULES)}) == []
