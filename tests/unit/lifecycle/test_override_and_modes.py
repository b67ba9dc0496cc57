from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

from qmtl_worlds.contracts.activation import GateLevel
from qmtl_worlds.contracts.states import EffectiveMode, OpState, WorldMode
from qmtl_worlds.lifecycle.holds import HoldKind, barred, gate_of
from qmtl_worlds.lifecycle.override import Ending, Override, capped, ending, is_raising, override_hold
from qmtl_worlds.lifecycle.world import effective_mode, op_state
from tests.unit.lifecycle.runs import ANT, NOW

CLOSED = Override(ANT, 0.0, "bad fills", "alice", NOW, expires_at=NOW + timedelta(hours=1))


def test_override_to_nothing_holds_the_instance_and_bars_it() -> None:
    hold = override_hold(CLOSED)

    assert hold is not None
    assert hold.kind is HoldKind.OVERRIDE
    assert gate_of({hold}, key=ANT).level is GateLevel.REDUCE_ONLY
    assert barred({hold}) == {ANT}


def test_override_to_less_caps_and_holds_nothing() -> None:
    cap = replace(CLOSED, cap=0.05)

    assert override_hold(cap) is None
    assert (capped(0.1, cap), capped(0.01, cap), capped(0.1, None)) == (0.05, 0.01, 0.1)


def test_override_to_more_than_is_permitted_raises() -> None:
    assert is_raising(wanted=0.11, permitted=0.1)
    assert not is_raising(wanted=0.1, permitted=0.1)
    assert is_raising(wanted=float("nan"), permitted=0.1)


@pytest.mark.parametrize(
    ("selected", "expected"),
    [(True, Ending.REOPENS), (False, Ending.STAYS_CLOSED), (None, Ending.STAYS_CLOSED)],
)
def test_override_that_expires_reopens_only_what_is_selected(selected: bool | None, expected: Ending) -> None:
    later = NOW + timedelta(hours=1)

    assert ending(CLOSED, now=later, selected=selected) is expected
    assert ending(CLOSED, now=NOW, selected=selected) is Ending.LASTS
    assert ending(replace(CLOSED, expires_at=None), now=later, selected=selected) is Ending.LASTS


def test_applying_is_told_before_evaluating() -> None:
    assert op_state(applying=True, evaluating=True) is OpState.APPLYING
    assert op_state(applying=False, evaluating=True) is OpState.EVALUATING
    assert op_state(applying=False, evaluating=False) is OpState.STEADY


def test_world_has_its_own_mode_only_when_everything_is_there() -> None:
    for policy, fresh, tripped, applied in product([True, False], repeat=4):
        mode = effective_mode(
            WorldMode.LIVE, has_policy=policy, anything_fresh=fresh, circuit_open=tripped, has_applied_set=applied
        )
        if not policy or not fresh or tripped:
            assert mode is EffectiveMode.COMPUTE_ONLY
        else:
            assert mode is (EffectiveMode.LIVE if applied else EffectiveMode.VALIDATE)


@pytest.mark.parametrize("mode", sorted(WorldMode))
def test_every_mode_of_a_world_is_an_effective_one(mode: WorldMode) -> None:
    facts = {"has_policy": True, "anything_fresh": True, "circuit_open": False, "has_applied_set": True}

    assert effective_mode(mode, **facts).value == mode.value
