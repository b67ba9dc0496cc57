from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl_worlds.contracts.activation import ActivationReason, GateLevel
from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.states import WorldMode
from qmtl_worlds.lifecycle.holds import (
    HOLD_RULES,
    OPEN_GATE,
    Hold,
    HoldKind,
    Remover,
    add,
    barred,
    gate_of,
    increases_stopped_by,
    make_hold,
    may_remove,
    needs_second_person,
    own_hold,
    relax_kill,
    remove,
)
from tests.unit.lifecycle.runs import ANT, BEE

CLOSED_KINDS = {HoldKind.KILL, HoldKind.SUSPENDED, HoldKind.BOOT, HoldKind.NEVER_APPLIED}
holds = st.builds(
    make_hold,
    st.sampled_from(sorted(HoldKind)),
    st.sampled_from(["alice", "bob", "run-1"]),
    key=st.sampled_from([None, ANT, BEE]),
    level=st.sampled_from(sorted(GateLevel)),
)
hold_sets = st.lists(holds, max_size=6).map(
    lambda many: frozenset({(one.kind, one.owner): one for one in many}.values())
)


def test_every_kind_has_a_rule_and_closes_as_far_as_the_design_says() -> None:
    assert HOLD_RULES.keys() == set(HoldKind)
    assert {kind for kind, rule in HOLD_RULES.items() if rule.level is GateLevel.CLOSED} == CLOSED_KINDS
    assert all(rule.level is not GateLevel.OPEN for rule in HOLD_RULES.values())


@given(hold_sets)
def test_gate_is_open_exactly_where_nothing_holds_it(held: frozenset[Hold]) -> None:
    gate = gate_of(held, key=ANT)

    concerning = [hold for hold in held if hold.key in {None, ANT}]
    assert (gate == OPEN_GATE) == (not concerning)
    assert all(gate.level.strictness >= hold.level.strictness for hold in concerning)


@given(hold_sets, holds)
def test_removing_a_hold_removes_that_hold_alone(held: frozenset[Hold], other: Hold) -> None:
    left = remove(held, kind=other.kind, owner=other.owner)

    assert held - left == {hold for hold in held if (hold.kind, hold.owner) == (other.kind, other.owner)}
    assert left <= held


@given(hold_sets, holds)
def test_adding_a_hold_never_opens_a_gate(held: frozenset[Hold], new: Hold) -> None:
    assert gate_of(add(held, new), key=new.key).level.strictness >= gate_of(held, key=new.key).level.strictness
    assert len({(hold.kind, hold.owner) for hold in add(held, new)}) == len(add(held, new))


def test_same_hold_again_keeps_the_stricter_of_the_two() -> None:
    mild, strict = (make_hold(HoldKind.CIRCUIT, "w1", level=level) for level in (GateLevel.OPEN, GateLevel.CLOSED))

    assert add(frozenset({strict}), mild) == add(frozenset({mild}), strict) == {strict}


def test_unfreeze_leaves_kill_and_circuit() -> None:
    kill, circuit = make_hold(HoldKind.KILL, "alice"), make_hold(HoldKind.CIRCUIT, "w1")
    held = frozenset({kill, circuit, make_hold(HoldKind.FREEZE, "alice")})

    assert remove(held, kind=HoldKind.FREEZE, owner="alice") == {kill, circuit}


def test_strictest_hold_gives_the_reason() -> None:
    gate = gate_of({make_hold(HoldKind.APPLY, "run-1"), make_hold(HoldKind.BOOT, "w1")})

    assert (gate.level, gate.reason) == (GateLevel.CLOSED, ActivationReason.BOOT)


def test_circuit_can_be_set_stricter_but_a_kill_not_milder() -> None:
    assert make_hold(HoldKind.CIRCUIT, "w1", level=GateLevel.CLOSED).level is GateLevel.CLOSED
    assert make_hold(HoldKind.KILL, "bob", level=GateLevel.REDUCE_ONLY).level is GateLevel.CLOSED


def test_hold_that_holds_nothing_is_refused() -> None:
    with pytest.raises(InputInvalidError):
        Hold(HoldKind.FREEZE, "alice", GateLevel.OPEN)


def test_risk_lets_exits_through_a_kill_and_nobody_else_does() -> None:
    kill = make_hold(HoldKind.KILL, "alice")

    relaxed = relax_kill(kill, by=Remover.RISK)

    assert relaxed is not None
    assert gate_of({relaxed}).level is GateLevel.REDUCE_ONLY
    assert increases_stopped_by({relaxed}) is HoldKind.KILL
    assert relax_kill(kill, by=Remover.OPERATOR) is None
    assert relax_kill(make_hold(HoldKind.BOOT, "w1"), by=Remover.RISK) is None


@pytest.mark.parametrize(
    ("kind", "removers"),
    [
        (HoldKind.APPLY, {Remover.RUN}),
        (HoldKind.KILL, {Remover.RISK}),
        (HoldKind.CIRCUIT, {Remover.RISK}),
        (HoldKind.STALE_RISK, {Remover.SYSTEM}),
        (HoldKind.STALE, set()),
        (HoldKind.NEVER_APPLIED, set()),
    ],
)
def test_hold_is_removed_by_its_own_kind_of_remover_only(kind: HoldKind, removers: set[Remover]) -> None:
    assert {one for one in Remover if may_remove(make_hold(kind, "x"), by=one)} == removers


def test_second_person_is_needed_for_kills_and_circuits_of_live_worlds() -> None:
    assert {kind for kind in HoldKind if needs_second_person(kind, WorldMode.LIVE)} == {HoldKind.KILL, HoldKind.CIRCUIT}
    assert not any(needs_second_person(kind, WorldMode.PAPER) for kind in HoldKind)


def test_hold_of_one_instance_concerns_that_one_alone() -> None:
    held = {make_hold(HoldKind.KILL, "bob:ant", key=ANT)}

    assert gate_of(held, key=BEE) == OPEN_GATE
    assert gate_of(held) == OPEN_GATE
    assert increases_stopped_by(held) is None
    assert barred(held) == {ANT}


def test_applies_and_flats_stop_no_run_and_bar_nobody() -> None:
    held = {own_hold("run-1"), make_hold(HoldKind.AWAITING_FLAT, "run-1:ant", key=ANT)}

    assert increases_stopped_by(held) is None
    assert barred(held) == frozenset()
