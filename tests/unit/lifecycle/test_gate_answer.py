from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl_worlds.contracts.activation import GateLevel, parse_envelope
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.contracts.plans import ActiveSet
from qmtl_worlds.contracts.states import EffectiveMode, WorldMode
from qmtl_worlds.lifecycle.gate import EntryFacts, WorldFacts, answer, lease_left_ms, state_hash, world_gate
from qmtl_worlds.lifecycle.holds import Hold, HoldKind, Remover, make_hold, relax_kill
from tests.unit.lifecycle.runs import ANT, BEE, NOW, SWAP
from tests.unit.lifecycle.test_holds import hold_sets

OPEN_WORLD = WorldFacts(
    world_id="w1",
    mode=WorldMode.LIVE,
    effective_mode=EffectiveMode.LIVE,
    has_applied_set=True,
    holds=frozenset(),
    position=Position(1, 42, 0),
    generation=7,
    run_id="run-1",
    changed_at=NOW - timedelta(hours=1),
    state_hash="sha256:state",
)
MEMBER = EntryFacts(ANT, bound=True, weight=0.12, fresh_until=NOW + timedelta(minutes=5))
TRADING = {EffectiveMode.PAPER, EffectiveMode.LIVE, EffectiveMode.REPLAY}


def held(*kinds: HoldKind, key: InstanceKey | None = None) -> WorldFacts:
    return replace(OPEN_WORLD, holds=frozenset(make_hold(kind, "x", key=key) for kind in kinds))


def test_fresh_member_of_an_open_world_is_active_with_its_weight() -> None:
    envelope = answer(MEMBER, OPEN_WORLD, NOW)

    assert (envelope.active, envelope.weight, envelope.gate, envelope.reason) == (True, 0.12, GateLevel.OPEN, "active")
    assert (envelope.generation, envelope.sequence, envelope.run_id) == (7, 42, "run-1")
    assert envelope.etag.startswith("1.42.0-")
    assert envelope.ts == OPEN_WORLD.changed_at


CASES: list[tuple[str, GateLevel, EntryFacts, WorldFacts]] = [
    ("unknown", GateLevel.CLOSED, EntryFacts(ANT), OPEN_WORLD),
    ("never_applied", GateLevel.CLOSED, MEMBER, replace(OPEN_WORLD, has_applied_set=False)),
    ("not_selected", GateLevel.REDUCE_ONLY, replace(MEMBER, weight=0.0), OPEN_WORLD),
    ("override", GateLevel.REDUCE_ONLY, replace(MEMBER, cap=0.0), OPEN_WORLD),
    ("stale", GateLevel.REDUCE_ONLY, replace(MEMBER, fresh_until=None), OPEN_WORLD),
    ("stale", GateLevel.REDUCE_ONLY, replace(MEMBER, fresh_until=NOW - timedelta(microseconds=1)), OPEN_WORLD),
    ("unconfirmed", GateLevel.REDUCE_ONLY, MEMBER, replace(OPEN_WORLD, confirmed=False)),
    ("unconfirmed", GateLevel.CLOSED, MEMBER, replace(OPEN_WORLD, confirmed=False, on_expiry=GateLevel.CLOSED)),
    ("unconfirmed", GateLevel.REDUCE_ONLY, MEMBER, replace(OPEN_WORLD, confirmed=False, on_expiry=GateLevel.OPEN)),
    ("mode", GateLevel.REDUCE_ONLY, MEMBER, replace(OPEN_WORLD, effective_mode=EffectiveMode.COMPUTE_ONLY)),
    ("mode", GateLevel.CLOSED, MEMBER, replace(OPEN_WORLD, effective_mode=EffectiveMode.VALIDATE)),
    ("mode", GateLevel.CLOSED, MEMBER, replace(OPEN_WORLD, effective_mode=EffectiveMode.SHADOW)),
    ("applying", GateLevel.REDUCE_ONLY, MEMBER, held(HoldKind.APPLY)),
    ("freeze", GateLevel.REDUCE_ONLY, MEMBER, held(HoldKind.FREEZE)),
    ("circuit", GateLevel.REDUCE_ONLY, MEMBER, held(HoldKind.CIRCUIT)),
    ("stale_risk", GateLevel.REDUCE_ONLY, MEMBER, held(HoldKind.STALE_RISK)),
    ("killed", GateLevel.CLOSED, MEMBER, held(HoldKind.KILL)),
    ("killed", GateLevel.CLOSED, MEMBER, held(HoldKind.KILL, HoldKind.APPLY, HoldKind.BOOT)),
    ("suspended", GateLevel.CLOSED, MEMBER, held(HoldKind.SUSPENDED)),
    ("boot", GateLevel.CLOSED, MEMBER, held(HoldKind.BOOT)),
    ("withdrawn", GateLevel.REDUCE_ONLY, MEMBER, held(HoldKind.WITHDRAWN, key=ANT)),
    ("awaiting_flat", GateLevel.REDUCE_ONLY, MEMBER, held(HoldKind.AWAITING_FLAT, key=ANT)),
    ("override", GateLevel.REDUCE_ONLY, MEMBER, held(HoldKind.OVERRIDE, key=ANT)),
    ("killed", GateLevel.CLOSED, MEMBER, held(HoldKind.KILL, key=ANT)),
]


@pytest.mark.parametrize(("reason", "level", "entry", "world"), CASES)
def test_whatever_speaks_against_it_closes_the_gate_and_is_named(
    reason: str, level: GateLevel, entry: EntryFacts, world: WorldFacts
) -> None:
    envelope = answer(entry, world, NOW)

    assert (envelope.active, envelope.weight) == (False, 0.0)
    assert (envelope.reason, envelope.gate) == (reason, level)


def test_hold_of_another_instance_is_not_this_ones() -> None:
    assert answer(MEMBER, held(HoldKind.KILL, key=BEE), NOW).active


def test_relaxed_kill_lets_exits_through() -> None:
    relaxed = relax_kill(make_hold(HoldKind.KILL, "alice"), by=Remover.RISK)
    assert relaxed is not None

    envelope = answer(MEMBER, replace(OPEN_WORLD, holds=frozenset({relaxed})), NOW)

    assert (envelope.gate, envelope.reason, envelope.active) == (GateLevel.REDUCE_ONLY, "killed", False)


def test_cap_of_an_operator_limits_the_weight_and_one_that_is_no_number_closes() -> None:
    assert answer(replace(MEMBER, cap=0.05), OPEN_WORLD, NOW).weight == 0.05
    assert not answer(replace(MEMBER, cap=float("nan")), OPEN_WORLD, NOW).active


def test_freeze_and_drain_flags_say_who_closes() -> None:
    applying, frozen = answer(MEMBER, held(HoldKind.APPLY), NOW), answer(MEMBER, held(HoldKind.FREEZE), NOW)

    assert (applying.freeze, applying.drain) == (True, True)
    assert (frozen.freeze, frozen.drain) == (True, False)


@pytest.mark.parametrize("mode", sorted(TRADING))
def test_world_in_a_trading_mode_opens(mode: EffectiveMode) -> None:
    assert answer(MEMBER, replace(OPEN_WORLD, effective_mode=mode), NOW).active


def test_data_is_fresh_to_the_last_instant_and_the_etag_changes_after_it() -> None:
    assert MEMBER.fresh_until is not None
    last = answer(MEMBER, OPEN_WORLD, MEMBER.fresh_until)
    after = answer(MEMBER, OPEN_WORLD, MEMBER.fresh_until + timedelta(microseconds=1))

    assert last.active
    assert not after.active
    assert after.etag != last.etag
    assert after.ts == MEMBER.fresh_until


entries = st.builds(
    EntryFacts,
    key=st.sampled_from([ANT, BEE]),
    bound=st.booleans(),
    weight=st.sampled_from([0.0, 0.3, 1.0, 1.5, -0.1, float("nan")]),
    cap=st.sampled_from([1.0, 0.2, 0.0, float("nan")]),
    fresh_until=st.sampled_from([None, NOW - timedelta(1), NOW, NOW + timedelta(1)]),
)
worlds = st.builds(
    replace,
    st.just(OPEN_WORLD),
    effective_mode=st.sampled_from(sorted(EffectiveMode)),
    has_applied_set=st.booleans(),
    holds=hold_sets,
    confirmed=st.booleans(),
    on_expiry=st.sampled_from(sorted(GateLevel)),
)


@given(entries, worlds)
def test_active_is_proven_by_everything_or_false(entry: EntryFacts, world: WorldFacts) -> None:
    envelope = answer(entry, world, NOW)

    if envelope.active:
        assert not [hold for hold in world.holds if hold.key in {None, entry.key}]
        assert entry.bound
        assert 0 < envelope.weight <= min(entry.weight, entry.cap)
        assert entry.fresh_until is not None
        assert entry.fresh_until >= NOW
        assert world.effective_mode in TRADING
        assert world.confirmed
        assert world.has_applied_set
    assert envelope.active == (envelope.gate is GateLevel.OPEN) == (envelope.weight > 0)
    assert parse_envelope(envelope.to_json()) == envelope


@given(entries, worlds, st.builds(make_hold, st.sampled_from(sorted(HoldKind)), st.just("new")))
def test_one_hold_more_never_opens(entry: EntryFacts, world: WorldFacts, hold: Hold) -> None:
    stricter = replace(world, holds=world.holds | {hold})

    assert answer(entry, stricter, NOW).gate.strictness >= answer(entry, world, NOW).gate.strictness


@given(entries, worlds, entries, worlds)
def test_equal_etags_mean_equal_bodies(one: EntryFacts, world: WorldFacts, two: EntryFacts, other: WorldFacts) -> None:
    first, second = answer(one, world, NOW), answer(two, other, NOW)

    assert (first.etag == second.etag) == (first.to_json() == second.to_json())


def test_answer_does_not_change_with_the_time_of_asking() -> None:
    later = answer(MEMBER, OPEN_WORLD, NOW + timedelta(minutes=4))

    assert later == answer(MEMBER, OPEN_WORLD, NOW)


def test_gate_of_the_world_is_that_of_an_instance_without_faults() -> None:
    for kind, mode in product(HoldKind, EffectiveMode):
        world = replace(held(kind), effective_mode=mode)

        assert world_gate(world).level is answer(MEMBER, world, NOW).gate


def test_state_hash_follows_position_content_and_holds() -> None:
    def hashed(sequence: int, content: ActiveSet, *holds: Hold) -> str:
        position = Position(1, sequence, 0)
        content_hash = content.content_hash
        return state_hash(
            world_id="w1", position=position, generation=1, content_hash=content_hash, holds=frozenset(holds)
        )

    hashes = {
        hashed(1, SWAP.before),
        hashed(2, SWAP.before),
        hashed(1, SWAP.after),
        hashed(1, SWAP.before, make_hold(HoldKind.FREEZE, "alice")),
    }

    assert len(hashes) == 4
    assert hashed(1, SWAP.before) in hashes


@pytest.mark.parametrize(
    ("confirmed", "fresh", "left"),
    [
        (0.0, 60.0, 5000),
        (2.0, 60.0, 3000),
        (2.0, 1.5, 1500),
        (5.0, 60.0, 0),
        (6.0, 60.0, 0),
        (1.0, 0.0, 0),
        (1.0, -1.0, 0),
        (-1.0, 60.0, 0),
        (float("nan"), 60.0, 0),
        (1.0, float("nan"), 0),
    ],
)
def test_lease_is_what_is_left_of_each_proof(confirmed: float, fresh: float, left: int) -> None:
    envelope = answer(MEMBER, OPEN_WORLD, NOW)

    assert lease_left_ms(envelope, lease_seconds=5, confirmed_for_seconds=confirmed, fresh_for_seconds=fresh) == left
