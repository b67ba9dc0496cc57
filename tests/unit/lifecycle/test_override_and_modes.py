from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

from qmtl_worlds.contracts.activation import GateLevel
from qmtl_worlds.contracts.states import EffectiveMode, OpState, WorldMode
from qmtl_worlds.lifecycle.holds import HoldKind, barred, gate_of
from qmtl_worlds.lifecycle.override import Ending, Override, ending, loosens, override_holds
from qmtl_worlds.lifecycle.world import effective_mode, op_state
from tests.unit.lifecycle.runs import ANT, NOW

CLOSED = Override(ANT, 0.0, expires_at=NOW + timedelta(hours=1))


def test_override_to_nothing_holds_the_instance_and_bars_it() -> None:
    holds = override_holds(CLOSED)

    assert {hold.kind for hold in holds} == {HoldKind.OVERRIDE}
    assert gate_of(holds, key=ANT).level is GateLevel.REDUCE_ONLY
    assert barred(holds) == {ANT}


@pytest.mark.parametrize(("freeze", "drain"), [(True, False), (False, True), (True, True)])
def test_frozen_instance_takes_exits_only_and_stays_in_the_set(*, freeze: bool, drain: bool) -> None:
    holds = override_holds(Override(ANT, freeze=freeze, drain=drain))

    assert len(holds) == freeze + drain
    assert gate_of(holds, key=ANT).level is GateLevel.REDUCE_ONLY
    assert barred(holds) == frozenset()


def test_cap_holds_nothing() -> None:
    assert override_holds(replace(CLOSED, cap=0.05)) == frozenset()


@pytest.mark.parametrize("override", [CLOSED, Override(ANT, 0.5), Override(ANT, freeze=True), Override(ANT, 0.0)])
def test_first_override_of_an_instance_never_loosens(override: Override) -> None:
    assert not loosens(override, None)
    assert not loosens(override, override)
    assert override.takes_away


@pytest.mark.parametrize(
    ("present", "wanted"),
    [
        (Override(ANT, 0.1), Override(ANT, 0.11)),
        (Override(ANT, 0.1), Override(ANT)),
        (Override(ANT, 0.1), Override(ANT, float("nan"))),
        (Override(ANT, 0.1, freeze=True), Override(ANT, 0.1)),
        (Override(ANT, 0.1, drain=True), Override(ANT, 0.0)),
        (Override(ANT, 0.0), CLOSED),
        (CLOSED, replace(CLOSED, expires_at=NOW)),
        (CLOSED, replace(CLOSED, cap=0.01)),
    ],
)
def test_override_that_ever_permits_more_than_the_present_one_loosens(present: Override, wanted: Override) -> None:
    assert loosens(wanted, present)


def test_override_that_lasts_longer_or_takes_more_away_does_not_loosen() -> None:
    assert not loosens(replace(CLOSED, expires_at=None), CLOSED)
    assert not loosens(replace(CLOSED, expires_at=NOW + timedelta(hours=2)), CLOSED)
    assert not loosens(Override(ANT, 0.05, freeze=True), Override(ANT, 0.1))
    assert not Override(ANT).takes_away


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
