from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from qmtl_worlds.contracts.ids import InstanceKey, Side
from strategies.models import StrategyInstance
from strategies.services.bind import Binding
from tests.worlds.factories import act_of, add_strategy, make_world, put_policy, shell
from tests.worlds.steps import (
    BAD,
    BEST,
    BETTER,
    GOOD,
    approve_now,
    drained,
    evaluate,
    first_apply,
    go_on,
    start,
    wait_with_increase,
)
from worlds.models import ApplyRun, World
from worlds.services.activation import activation_of, activations_of
from worlds.services.binding import bind, unbind
from worlds.services.gate_facts import READ_ATTEMPTS, one_entry, read_committed
from worlds.services.holds import freeze, pause, unfreeze
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db

NOBODY = InstanceKey("nobody", Side.LONG)


def told(world: World, key: InstanceKey) -> tuple[bool, str, str]:
    envelope = activation_of(world_id=world.id, key=key).envelope
    return envelope.active, envelope.gate.value, envelope.reason


def test_activation_of_a_strategy_that_nobody_bound_is_closed(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)

    assert told(world, NOBODY) == (False, "closed", "unknown")


def test_activation_of_the_other_side_of_an_active_strategy_is_closed(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)

    assert told(world, InstanceKey("good", Side.SHORT)) == (False, "closed", "unknown")


def test_activation_before_the_first_apply_is_closed(world: World, alice: User) -> None:
    evaluate(world)
    start(world, alice)

    assert told(world, GOOD) == (False, "closed", "never_applied")


def test_activation_without_a_policy_is_closed() -> None:
    world = make_world()
    bind(world_id=world.id, bindings=[Binding("good")], act=shell())

    assert told(world, GOOD) == (False, "closed", "never_applied")


def test_activation_of_one_that_was_not_selected_lets_it_reduce(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)

    assert told(world, BAD) == (False, "reduce_only", "not_selected")


def test_activation_while_draining_lets_exits_only_through(world: World, alice: User, bob: User) -> None:
    run = wait_with_increase(world, alice, bob)
    approve_now(world, run, bob)
    go_on(world, run.run_id)

    envelope = activation_of(world_id=world.id, key=GOOD).envelope

    assert (envelope.active, envelope.gate.value, envelope.reason) == (False, "reduce_only", "applying")
    assert (envelope.freeze, envelope.drain, envelope.weight) == (True, True, 0.0)


def test_activation_while_frozen_lets_exits_only_through(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    freeze(world_id=world.id, act=act_of(alice))

    envelope = activation_of(world_id=world.id, key=GOOD).envelope

    assert (envelope.gate.value, envelope.reason, envelope.freeze, envelope.drain) == (
        "reduce_only",
        "freeze",
        True,
        False,
    )


def test_activation_of_stale_data_lets_exits_only_through(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    before = activation_of(world_id=world.id, key=GOOD).envelope
    StrategyInstance.objects.filter(strategy_id="good").update(fresh_until=database_now() - timedelta(seconds=1))

    stale = activation_of(world_id=world.id, key=GOOD).envelope

    assert (stale.active, stale.gate.value, stale.reason) == (False, "reduce_only", "stale")
    assert stale.etag != before.etag
    assert told(world, BETTER)[0]


def test_activation_when_nothing_at_all_is_fresh_is_compute_only(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    StrategyInstance.objects.update(fresh_until=database_now() - timedelta(seconds=1))

    envelope = activation_of(world_id=world.id, key=GOOD).envelope

    assert (envelope.active, envelope.gate.value, envelope.effective_mode) == (False, "reduce_only", "compute-only")


@pytest.mark.parametrize("state", ["SUSPENDED", "DELETED"])
def test_activation_of_a_world_out_of_use_is_closed(world: World, alice: User, bob: User, state: str) -> None:
    first_apply(world, alice, bob)
    World.objects.filter(pk=world.pk).update(state=state)

    assert told(world, GOOD) == (False, "closed", "suspended")


def test_activation_in_a_paused_world_goes_on(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    pause(world_id=world.id, act=act_of(alice))

    assert told(world, GOOD) == (True, "open", "active")


def test_activation_of_a_withdrawn_strategy_still_lets_it_reduce(world: World) -> None:
    unbind(world_id=world.id, strategy_id="good", side=None, act=shell())

    envelope = activation_of(world_id=world.id, key=GOOD).envelope

    assert (envelope.active, envelope.reason) == (False, "never_applied")


def test_activation_in_shadow_mode_never_opens(alice: User, bob: User) -> None:
    world = make_world("dark", mode="shadow")
    put_policy(world, author=alice, approver=bob)
    add_strategy(world, "good", quality=3)
    first_apply(world, alice, bob)

    assert told(world, GOOD) == (False, "closed", "mode")


def test_lease_reaches_no_further_than_the_data_is_fresh(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    StrategyInstance.objects.filter(strategy_id="good").update(fresh_until=database_now() + timedelta(seconds=0.3))

    answered = activation_of(world_id=world.id, key=GOOD)

    assert answered.envelope.active
    assert 0 < answered.lease_ms <= 300


def test_lease_is_shorter_than_the_worlds_by_what_the_reading_took(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)

    answered = activation_of(world_id=world.id, key=GOOD)

    assert 0 < answered.lease_ms < world.lease_ms


def test_etag_is_constant_while_nothing_changes(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)

    tags = {activation_of(world_id=world.id, key=GOOD).envelope.etag for _ in range(3)}

    assert len(tags) == 1


def test_etag_differs_after_a_freeze_and_again_after_the_unfreeze(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    tags = [activation_of(world_id=world.id, key=GOOD).envelope.etag]
    for change in (freeze, unfreeze):
        change(world_id=world.id, act=act_of(alice))
        tags.append(activation_of(world_id=world.id, key=GOOD).envelope.etag)

    assert len(set(tags)) == 3


def test_sequence_rises_when_a_strategy_is_bound_because_unknown_is_stricter(
    world: World, alice: User, bob: User
) -> None:
    first_apply(world, alice, bob)
    unknown = activation_of(world_id=world.id, key=NOBODY).envelope

    bind(world_id=world.id, bindings=[Binding("nobody")], act=shell())

    known = activation_of(world_id=world.id, key=NOBODY).envelope
    assert (known.gate.value, known.reason) == ("reduce_only", "not_selected")
    assert known.sequence > unknown.sequence


def test_binding_again_what_is_bound_changes_no_etag(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    before = activation_of(world_id=world.id, key=GOOD).envelope.etag

    bind(world_id=world.id, bindings=[Binding("good", Side.LONG, sector="tech")], act=shell())

    assert activation_of(world_id=world.id, key=GOOD).envelope.etag == before


def test_whole_set_says_of_each_instance_what_is_said_of_it_alone(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)

    whole = activations_of(world_id=world.id)

    assert [envelope.key for envelope in whole.envelopes] == [BAD, BETTER, GOOD]
    assert all(activation_of(world_id=world.id, key=one.key).envelope == one for one in whole.envelopes)


def test_reading_that_meets_a_switch_is_made_again_and_never_mixes_two_sets(
    world: World, alice: User, bob: User
) -> None:
    run = drained(world, wait_with_increase(world, alice, bob), bob)
    calls: list[int] = []

    def read_while_the_apply_switches(seen: World) -> object:
        calls.append(seen.generation)
        if len(calls) == 1:
            go_on(world, run.run_id)
        return one_entry(world=seen, key=BEST)

    reading = read_committed(world_id=world.id, read=read_while_the_apply_switches)

    assert calls == [1, 2]
    assert (reading.facts.generation, reading.facts.confirmed) == (2, True)
    assert ApplyRun.objects.get(run_id="run-2").state == "done"


def test_reading_of_a_world_that_never_stands_still_is_not_confirmed(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    calls: list[int] = []

    def read_while_somebody_toggles(seen: World) -> None:
        (freeze if len(calls) % 2 == 0 else unfreeze)(world_id=world.id, act=act_of(alice))
        calls.append(seen.sequence)

    reading = read_committed(world_id=world.id, read=read_while_somebody_toggles)

    assert len(calls) == READ_ATTEMPTS + 1
    assert not reading.facts.confirmed
