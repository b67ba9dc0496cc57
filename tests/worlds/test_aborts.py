"""An abort, in each state that a run can be in; and what a held run waits for."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from qmtl_worlds.contracts.acts import Act, Grants
from qmtl_worlds.contracts.errors import PermissionDeniedError, RunStateError
from qmtl_worlds.contracts.states import RunState
from tests.worlds.factories import act_of
from tests.worlds.steps import (
    GOOD,
    approve_now,
    chain_is_whole,
    evaluate,
    first_apply,
    go_on,
    kill_worker,
    kinds_of,
    lose,
    members_now,
    pass_drain,
    start,
    states_of,
)
from worlds.models import Alert, ApplyRun, GateHold, World
from worlds.services import advance as machine
from worlds.services.activation import activation_of
from worlds.services.approvals import abort, reject, resume
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db

BEFORE = {"good", "better"}
AFTER = {"better", "best"}
CANCELLED = (RunState.CANCELLED, "aborted")
ROLLED_BACK = (RunState.ROLLED_BACK, "aborted")
AT_ONCE = {
    RunState.REQUESTED: CANCELLED,
    RunState.QUEUED: CANCELLED,
    RunState.FREEZING: ROLLED_BACK,
    RunState.DRAINING: ROLLED_BACK,
    RunState.FROZEN: ROLLED_BACK,
    RunState.HELD: ROLLED_BACK,
    RunState.SWITCHED: (RunState.ROLLING_BACK, "aborted"),
}
STEPS_AFTER_DRAIN = {RunState.FROZEN: 1, RunState.SWITCHED: 2}
GATEWAY = Grants({"w1": frozenset({"world.read", "apply.request", "gate.close"})})


def step(world: World, run: ApplyRun, patch: pytest.MonkeyPatch, count: int) -> None:
    """Make so many steps; then the worker dies."""
    with patch.context() as patched:
        patched.setattr(machine, "MAX_STEPS", count)
        go_on(world, run.run_id)
    kill_worker(run)


def bring_to(world: World, run: ApplyRun, state: RunState, *, bob: User, patch: pytest.MonkeyPatch) -> None:
    """Let the waiting run come as far as ``state``."""
    if state is RunState.REQUESTED:
        return
    approve_now(world, run, bob)
    if state is RunState.QUEUED:
        return
    if state is RunState.FREEZING:
        step(world, run, patch, 1)
    else:
        go_on(world, run.run_id)
    if state is RunState.HELD:
        ApplyRun.objects.filter(pk=run.pk).update(deadline_at=database_now() - timedelta(seconds=1))
        go_on(world, run.run_id)
    elif state in STEPS_AFTER_DRAIN:
        pass_drain(run)
        step(world, run, patch, STEPS_AFTER_DRAIN[state])
    assert states_of(run)[0] == state


def stop(world: World, run: ApplyRun, user: User) -> ApplyRun:
    return abort(world_id=world.id, run_id=run.run_id, act=act_of(user))


@pytest.mark.parametrize("state", AT_ONCE)
def test_abort_in_any_state_leads_back_and_opens_the_gate_again(
    world: World, waiting: ApplyRun, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch, state: RunState
) -> None:
    bring_to(world, waiting, state, bob=bob, patch=monkeypatch)

    stop(world, waiting, alice)
    then = states_of(waiting)
    ended = go_on(world, waiting.run_id)

    assert then == AT_ONCE[state]
    assert (ended.state, ended.state_reason) == (ROLLED_BACK if state is RunState.SWITCHED else then)
    assert members_now(world) == BEFORE
    assert world.generation == (3 if state is RunState.SWITCHED else 1)
    assert activation_of(world_id=world.id, key=GOOD).envelope.active
    assert not GateHold.objects.exists()
    assert "apply.aborted" in kinds_of(waiting)
    assert ended.result is not None
    assert chain_is_whole(world)


def test_abort_of_a_run_that_takes_its_change_back_already_is_too_late(
    world: World, waiting: ApplyRun, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_to(world, waiting, RunState.SWITCHED, bob=bob, patch=monkeypatch)
    stop(world, waiting, alice)

    with pytest.raises(RunStateError):
        stop(world, waiting, alice)

    assert states_of(waiting)[0] == RunState.ROLLING_BACK
    assert activation_of(world_id=world.id, key=GOOD).envelope.reason == "applying"


@pytest.mark.parametrize("ending", [RunState.DONE, RunState.CANCELLED, RunState.ROLLED_BACK])
def test_abort_of_a_run_that_has_ended_is_too_late(
    world: World, waiting: ApplyRun, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch, ending: RunState
) -> None:
    if ending is RunState.CANCELLED:
        reject(world_id=world.id, run_id=waiting.run_id, act=act_of(bob))
    else:
        bring_to(world, waiting, RunState.FROZEN, bob=bob, patch=monkeypatch)
    if ending is RunState.ROLLED_BACK:
        stop(world, waiting, alice)
    go_on(world, waiting.run_id)
    before = states_of(waiting), kinds_of(waiting)

    with pytest.raises(RunStateError):
        stop(world, waiting, alice)

    assert (states_of(waiting), kinds_of(waiting)) == before
    assert before[0][0] == ending


@pytest.mark.parametrize("count", [0, 1])
def test_reduce_run_is_never_aborted(
    world: World, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    first_apply(world, alice, bob)
    lose(world, "good")
    evaluate(world, "eval-2", day=1)
    run = start(world, alice, "run-2", "eval-2")
    if count:
        step(world, run, monkeypatch, count)

    with pytest.raises(RunStateError):
        stop(world, run, alice)

    assert states_of(run)[0] == (RunState.SWITCHED if count else RunState.QUEUED)
    assert go_on(world, run.run_id).state == RunState.DONE
    assert members_now(world) == {"better"}


@pytest.mark.parametrize("state", [RunState.FROZEN, RunState.SWITCHED])
def test_abort_keeps_what_a_reduce_run_took_away_meanwhile(
    world: World, waiting: ApplyRun, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch, state: RunState
) -> None:
    bring_to(world, waiting, state, bob=bob, patch=monkeypatch)
    lose(world, "better", day=2)
    evaluate(world, "eval-3", day=2)
    with pytest.raises(Exception, match="holds world"):
        start(world, alice, "run-3", "eval-3")
    cut = go_on(world, "run-3:reduce")

    stop(world, waiting, alice)
    go_on(world, waiting.run_id)

    assert cut.state == RunState.DONE
    assert members_now(world) == {"good"}


def test_abort_of_a_held_run_takes_a_person(
    world: World, waiting: ApplyRun, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_to(world, waiting, RunState.HELD, bob=bob, patch=monkeypatch)
    machine_act = Act("token:g1", "", database_now(), grants=GATEWAY)

    with pytest.raises(PermissionDeniedError):
        abort(world_id=world.id, run_id=waiting.run_id, act=machine_act)

    assert states_of(waiting)[0] == RunState.HELD
    assert activation_of(world_id=world.id, key=GOOD).envelope.reason == "applying"
    assert Alert.objects.filter(kind="run_held", cleared_at=None).exists()


def test_operator_cannot_resume_a_held_run(
    world: World, waiting: ApplyRun, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_to(world, waiting, RunState.HELD, bob=bob, patch=monkeypatch)

    with pytest.raises(PermissionDeniedError):
        resume(world_id=world.id, run_id=waiting.run_id, act=act_of(alice))

    assert states_of(waiting)[0] == RunState.HELD


def test_run_held_after_its_switch_has_the_previous_content_back_and_the_gate_closed(
    world: World, waiting: ApplyRun, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_to(world, waiting, RunState.SWITCHED, bob=bob, patch=monkeypatch)
    switched = members_now(world)
    ApplyRun.objects.filter(pk=waiting.pk).update(deadline_at=database_now() - timedelta(seconds=1))

    go_on(world, waiting.run_id)

    assert (switched, states_of(waiting)) == (AFTER, (RunState.HELD, "overdue"))
    assert (members_now(world), world.generation) == (BEFORE, 3)
    assert activation_of(world_id=world.id, key=GOOD).envelope.reason == "applying"
    resume(world_id=world.id, run_id=waiting.run_id, act=act_of(bob))
    go_on(world, waiting.run_id)
    pass_drain(waiting)
    assert go_on(world, waiting.run_id).state == RunState.DONE
    assert (members_now(world), world.generation) == (AFTER, 4)
    assert chain_is_whole(world)
