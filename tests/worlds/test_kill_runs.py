from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from qmtl_worlds.contracts.states import RunState
from tests.worlds.factories import act_of
from tests.worlds.kill_steps import gate_of
from tests.worlds.steps import approve_now, go_on, kill_worker, pass_drain, states_of
from worlds.models import ApplyRun, GateHold, World
from worlds.services import advance
from worlds.services.approvals import abort, resume
from worlds.services.holds import freeze, unfreeze
from worlds.services.kills import kill
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db

Bring = Callable[[str], None]
STEPS = {
    "freezing": (1,),
    "draining": (12,),
    "frozen": (12, 1),
    "switched": (12, 2),
    "rolling_back": (12, 2),
    "held": (12, 1),
}
"""How many steps its workers make before they die; each drain is over at once."""


@pytest.fixture
def bring(world: World, waiting: ApplyRun, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch) -> Bring:
    """Take the waiting run to a state, where its worker dies."""

    def step(count: int) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(advance, "MAX_STEPS", count)
            go_on(world, waiting.run_id)
        die(waiting)

    def to(state: str) -> None:
        if state != "requested":
            approve_now(world, waiting, bob)
        for count in STEPS.get(state, ()):
            step(count)
            pass_drain(waiting)
            if state == "held":
                ApplyRun.objects.filter(pk=waiting.pk).update(deadline_at=database_now() - timedelta(hours=1))
        if state == "rolling_back":
            abort(world_id=world.id, run_id=waiting.run_id, act=act_of(alice))
        assert states_of(waiting)[0] == state

    return to


def die(run: ApplyRun) -> None:
    """Let the run's worker die, where it did not give the run back."""
    run.refresh_from_db()
    if run.lease_until is not None:
        kill_worker(run)


ENDS = {
    "requested": RunState.REQUESTED,
    "queued": RunState.CANCELLED,
    "freezing": RunState.CANCELLED,
    "draining": RunState.CANCELLED,
    "frozen": RunState.CANCELLED,
    "switched": RunState.DONE,
    "rolling_back": RunState.ROLLED_BACK,
    "held": RunState.HELD,
}
"""Where a run ends that is killed in a state: whatever has not switched never does."""


@pytest.mark.parametrize("state", ENDS)
def test_kill_in_a_state_of_a_run_outlives_the_run_and_an_unfreeze(
    world: World, waiting: ApplyRun, alice: User, bring: Bring, state: str
) -> None:
    bring(state)
    kill(world_id=world.id, act=act_of(alice))
    killed = gate_of(world)

    freeze(world_id=world.id, act=act_of(alice))
    unfreeze(world_id=world.id, act=act_of(alice))
    for _ in range(3):
        pass_drain(waiting)
        go_on(world, waiting.run_id)
        die(waiting)

    assert killed == gate_of(world) == ("closed", "killed")
    assert states_of(waiting)[0] == ENDS[state]
    assert not GateHold.objects.exclude(kind="kill").exclude(kind="apply").exists()
    assert GateHold.objects.filter(kind="apply").exists() == (state == "held")


def test_held_run_that_is_resumed_under_a_kill_changes_nothing(
    world: World, waiting: ApplyRun, alice: User, bob: User, bring: Bring
) -> None:
    bring("held")
    kill(world_id=world.id, act=act_of(alice))

    resume(world_id=world.id, run_id=waiting.run_id, act=act_of(bob))
    for _ in range(3):
        go_on(world, waiting.run_id)
        pass_drain(waiting)

    assert states_of(waiting)[0] == RunState.CANCELLED
    assert gate_of(world) == ("closed", "killed")
    world.refresh_from_db()
    assert world.generation == 1


def test_aborted_run_does_not_lift_a_kill(world: World, waiting: ApplyRun, alice: User, bring: Bring) -> None:
    bring("draining")
    kill(world_id=world.id, act=act_of(alice))

    abort(world_id=world.id, run_id=waiting.run_id, act=act_of(alice))

    assert states_of(waiting)[0] == RunState.ROLLED_BACK
    assert gate_of(world) == ("closed", "killed")
