from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User

from qmtl_worlds.contracts.states import RunState
from tests.worlds.factories import act_of, shell
from tests.worlds.steps import (
    BEST,
    BETTER,
    GOOD,
    approve_now,
    chain_is_whole,
    drained,
    go_on,
    kill_worker,
    kinds_of,
    members_now,
    pass_drain,
    states_of,
)
from worlds.models import ApplyRun, GateHold, OutboxEvent, World
from worlds.selectors import fenced_total
from worlds.services import advance as machine
from worlds.services.activation import activation_of
from worlds.services.changes import VisibleChange, announce_all
from worlds.services.registry import update_world
from worlds.services.run_worker import Worker
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db


def test_run_tells_each_of_its_phases_in_the_audit(world: World, waiting: ApplyRun, bob: User) -> None:
    drained(world, waiting, bob)
    go_on(world, waiting.run_id)

    assert kinds_of(waiting) == [
        "apply.requested",
        "apply.approved",
        "apply.queued",
        "apply.freezing",
        "apply.draining",
        "apply.frozen",
        "apply.switched",
        "apply.completed",
    ]
    assert chain_is_whole(world)


def test_each_step_is_one_outbox_row_and_sequences_have_no_gap(world: World, waiting: ApplyRun, bob: User) -> None:
    drained(world, waiting, bob)
    go_on(world, waiting.run_id)

    world.refresh_from_db()
    told = list(OutboxEvent.objects.filter(world=world).order_by("sequence").values_list("sequence", flat=True))

    assert told == list(range(1, world.sequence + 1))


def test_drain_counts_from_the_freeze_and_lasts_a_lease_and_more(world: World, waiting: ApplyRun, bob: User) -> None:
    approve_now(world, waiting, bob)
    before = database_now()

    run = go_on(world, waiting.run_id)

    assert run.drain_until is not None
    assert before + timedelta(milliseconds=1250) < run.drain_until


def test_drain_lasts_as_long_as_a_lease_that_was_shortened_a_moment_ago(
    world: World, alice: User, waiting: ApplyRun, bob: User
) -> None:
    update_world(world_id=world.id, changes={"lease_ms": 30_000}, act=act_of(alice))
    update_world(world_id=world.id, changes={"lease_ms": 1_000}, act=act_of(alice))
    approve_now(world, waiting, bob)
    before = database_now()

    run = go_on(world, waiting.run_id)

    assert run.drain_until is not None
    assert run.drain_until - before > timedelta(seconds=30)


def test_step_before_the_drain_has_ended_moves_nothing(world: World, waiting: ApplyRun, bob: User) -> None:
    approve_now(world, waiting, bob)
    go_on(world, waiting.run_id)
    ApplyRun.objects.filter(pk=waiting.pk).update(drain_until=database_now() + timedelta(minutes=1))

    for _ in range(3):
        go_on(world, waiting.run_id)

    assert states_of(waiting)[0] == RunState.DRAINING
    assert members_now(world) == {"good", "better"}


@pytest.mark.parametrize("state", ["freezing", "draining", "frozen", "switched"])
def test_worker_that_dies_at_a_step_leaves_a_run_that_the_next_one_ends(
    world: World, waiting: ApplyRun, bob: User, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    approve_now(world, waiting, bob)
    died: list[str] = []

    def die_once(seen: World, changes: Sequence[VisibleChange], *, now: datetime) -> range:
        if not died and changes[0].payload.get("phase") == state:
            died.append(state)
            raise RuntimeError("killed")
        return announce_all(seen, changes, now=now)

    monkeypatch.setattr(machine, "announce_all", die_once)
    for _ in range(4):
        try:
            go_on(world, waiting.run_id)
        except RuntimeError:
            gates = {activation_of(world_id=world.id, key=key).envelope.active for key in (GOOD, BETTER, BEST)}
            assert gates == ({True, False} if state == "freezing" else {False})
            kill_worker(waiting)
        pass_drain(waiting)

    assert died == [state]
    assert states_of(waiting) == (RunState.DONE, "completed")
    assert members_now(world) == {"better", "best"}
    assert world.generation == 2
    assert not GateHold.objects.exists()
    assert chain_is_whole(world)


def test_dead_workers_run_is_left_alone_until_its_lease_has_ended(world: World, waiting: ApplyRun, bob: User) -> None:
    approve_now(world, waiting, bob)
    ApplyRun.objects.filter(pk=waiting.pk).update(lease_until=database_now() + timedelta(seconds=60), epoch=7)

    run = go_on(world, waiting.run_id)

    assert (run.state, run.epoch) == (RunState.QUEUED, 7)


def test_takeover_restarts_the_drain_and_counts_the_dead(world: World, waiting: ApplyRun, bob: User) -> None:
    drained(world, waiting, bob)
    kill_worker(waiting)
    before = database_now()

    run = go_on(world, waiting.run_id)

    assert run.state == RunState.DRAINING
    assert run.attempts == 1
    assert run.drain_until is not None
    assert run.drain_until > before + timedelta(seconds=1)
    assert kinds_of(waiting)[-1] == "apply.taken_over"


def test_step_with_an_old_epoch_changes_nothing_and_is_counted(world: World, waiting: ApplyRun, bob: User) -> None:
    drained(world, waiting, bob)
    waiting.refresh_from_db()
    world.refresh_from_db()
    old, sequence = waiting.epoch, world.sequence
    ApplyRun.objects.filter(pk=waiting.pk).update(epoch=old + 1)

    result = machine._step(world.id, waiting.run_id, Worker(old), shell())  # noqa: SLF001 - the zombie's own next step

    assert not result
    assert states_of(waiting)[0] == RunState.DRAINING
    assert ApplyRun.objects.get(pk=waiting.pk).epoch == old + 1
    world.refresh_from_db()
    assert (world.sequence, fenced_total(world.id)) == (sequence, 1)


def test_worker_that_wakes_after_the_end_of_its_run_is_counted(world: World, waiting: ApplyRun, bob: User) -> None:
    drained(world, waiting, bob)
    waiting.refresh_from_db()
    old = waiting.epoch
    done = go_on(world, waiting.run_id)

    result = machine._step(world.id, waiting.run_id, Worker(old), shell())  # noqa: SLF001 - the zombie's own next step

    assert (result, done.state, done.epoch > old) == (False, RunState.DONE, True)
    assert kinds_of(waiting)[-2:] == ["apply.completed", "apply.fenced"]
    assert fenced_total(world.id) == 1
