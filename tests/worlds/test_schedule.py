from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError

from audit.models import AuditEvent, AuditRun, AuditRunState, RunKind
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.states import RunState
from tests.worlds.factories import POLICY, add_strategy, make_world, put_policy, shell
from tests.worlds.steps import (
    approve_now,
    evaluate,
    start,
)
from worlds.models import ApplyRun, GateHold, Heartbeat, World
from worlds.services import scheduling
from worlds.services.advance import MOST_COUNTED, advance
from worlds.services.authority import act_of_schedule
from worlds.services.evaluations import EvaluationRequest, request_evaluation
from worlds.services.replay import step_clock
from worlds.services.scheduling import claim_due_slots, next_due
from worlds.stores.clock import database_now
from worlds.work import overdue
from worlds.work.evaluate import evaluate_world
from worlds.work.tick import tick

pytestmark = pytest.mark.django_db
SCHEDULED = RunKind.SCHEDULED
HOURLY = POLICY + "schedule: {{every: 1h}}\n"
AUTOMATIC = POLICY + "apply: {{mode: auto, auto: {{max_changes: 5, max_gross_shift: 1.0}}}}\n"


@pytest.fixture
def hourly(world: World, alice: User, bob: User) -> World:
    """Evaluated each full hour."""
    put_policy(world, author=alice, approver=bob, version=2, text=HOURLY)
    return world


def claim() -> list[str]:
    return [run.run_id for run in claim_due_slots(act=act_of_schedule(reason="test"))]


def test_world_without_a_schedule_is_evaluated_by_hand_only(world: World) -> None:
    assert claim() == []


def test_due_slot_is_claimed_once(hourly: World) -> None:
    first, second = claim(), claim()

    run = AuditRun.objects.get()
    assert first == [run.run_id]
    assert second == []
    assert (run.kind, run.as_of) == (SCHEDULED, run.slot)


def test_slot_that_another_tick_claims_first_is_left_to_it(hourly: World, monkeypatch: pytest.MonkeyPatch) -> None:
    due = next_due(hourly, now=database_now())

    def claim_meanwhile(world: World, *, now: datetime) -> datetime | None:
        World.objects.filter(pk=world.pk).update(last_slot_at=due)
        return due

    monkeypatch.setattr(scheduling, "next_due", claim_meanwhile)

    assert claim() == []
    assert not AuditRun.objects.exists()


def test_slots_missed_while_nothing_ran_are_caught_up_by_one_run(hourly: World) -> None:
    World.objects.filter(pk=hourly.pk).update(last_slot_at=database_now() - timedelta(days=3))

    (run_id,) = claim()

    assert claim() == []
    told = AuditEvent.objects.get(kind="evaluation.caught_up")
    assert (told.chain, told.run_id) == (hourly.id, run_id)


def test_slot_that_comes_right_after_the_last_one_catches_up_with_nothing(hourly: World) -> None:
    slot = next_due(hourly, now=database_now())
    assert slot is not None
    World.objects.filter(pk=hourly.pk).update(last_slot_at=slot - timedelta(hours=1))

    claim()

    assert not AuditEvent.objects.filter(kind="evaluation.caught_up").exists()


def test_slot_due_while_an_evaluation_runs_is_skipped_and_told(hourly: World) -> None:
    request_evaluation(world_id=hourly.id, request=EvaluationRequest("eval-1"), act=shell())

    assert claim() == []
    assert AuditEvent.objects.filter(kind="evaluation.skipped").count() == 1
    assert claim() == []


def test_suspended_world_is_not_evaluated(hourly: World) -> None:
    World.objects.filter(pk=hourly.pk).update(state="SUSPENDED")

    assert claim() == []


def test_one_world_that_refuses_does_not_keep_the_others_from_their_slots(
    hourly: World, alice: User, bob: User
) -> None:
    other = make_world("w2")
    put_policy(other, author=alice, approver=bob, text=HOURLY)
    due = next_due(hourly, now=database_now())
    assert due is not None
    squatter = EvaluationRequest(f"slot:w1:{due:%Y%m%dT%H%M%SZ}", as_of=due - timedelta(days=1))
    request_evaluation(world_id="w1", request=squatter, act=shell())
    AuditRun.objects.update(state=AuditRunState.ERROR)

    claimed = claim()

    assert [run_id.split(":")[1] for run_id in claimed] == ["w2"]


def test_replay_without_a_first_step_has_no_slots_and_then_those_of_its_own_time(alice: User, bob: User) -> None:
    world = make_world("history", mode="replay")
    put_policy(world, author=alice, approver=bob, text=HOURLY)
    before = claim()

    step_clock(world_id=world.id, to=datetime(2010, 5, 4, 12, 30, tzinfo=UTC), act=shell())
    after = claim()

    assert before == []
    assert after == ["slot:history:20100504T120000Z"]


def test_replay_decides_by_its_own_clock_what_is_fresh(alice: User, bob: User) -> None:
    world = make_world("history", mode="replay")
    text = POLICY.replace("3650d", "2d")
    put_policy(world, author=alice, approver=bob, text=text)
    add_strategy(world, "good", quality=3)
    step_clock(world_id=world.id, to=datetime(2026, 2, 20, 6, tzinfo=UTC), act=shell())
    request_evaluation(world_id=world.id, request=EvaluationRequest("eval-1"), act=shell())

    run = evaluate_world(world_id=world.id, run_id="eval-1", act=shell())

    assert run.state == AuditRunState.OK
    assert run.as_of == datetime(2026, 2, 20, 6, tzinfo=UTC)
    assert b'"topk":["good|long"]' in run.decision_bytes()


def rung(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    bells: list[str] = []
    monkeypatch.setattr(overdue, "ring", lambda **facts: bells.append(facts["run_id"]))
    return bells


@pytest.mark.parametrize(
    ("age", "before", "bells"), [(30, 1, 0), (45.5, 1, 1), (46, 0.5, 0), (60, 1, 0), (91, 2, 1), (200, 160, 1)]
)
def test_lost_bell_is_rung_again_once_in_its_period(
    world: World, monkeypatch: pytest.MonkeyPatch, age: float, before: float, bells: int
) -> None:
    heard = rung(monkeypatch)
    request_evaluation(world_id=world.id, request=EvaluationRequest("eval-1"), act=shell())
    act = shell()
    AuditRun.objects.update(started_at=act.now - timedelta(seconds=age))

    overdue.see_to_evaluations(last=act.now - timedelta(seconds=before), act=act)

    assert len(heard) == bells


def test_evaluation_that_no_worker_finishes_is_given_up_so_that_the_schedule_goes_on(hourly: World) -> None:
    claim()
    AuditRun.objects.update(started_at=database_now() - timedelta(seconds=601))

    tick()

    run = AuditRun.objects.get()
    assert (run.state, run.error) == (AuditRunState.ERROR, "No worker finished it in 10 minutes.")
    assert AuditEvent.objects.filter(kind="evaluation.failed").exists()


def test_tick_leaves_a_sign_of_life(world: World) -> None:
    tick()

    assert Heartbeat.objects.get(process="tick").beat_at <= database_now()


def test_tick_carries_runs_on_without_any_bell(world: World, alice: User, bob: User) -> None:
    evaluate(world)
    approve_now(world, start(world, alice), bob)

    tick()

    assert ApplyRun.objects.get().state == RunState.DONE


def test_run_that_breaks_does_not_keep_the_tick_from_the_others(
    world: World, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_in_two_worlds(world, alice, bob)
    break_steps_of(world, monkeypatch)

    tick()

    assert states_of_runs() == {"w1": RunState.QUEUED, "w2": RunState.DONE}
    assert ApplyRun.objects.get(world=world).attempts == 1


def test_run_whose_world_is_locked_or_whose_failures_are_too_many_to_count_does_not_either(
    world: World, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_in_two_worlds(world, alice, bob)
    break_steps_of(world, monkeypatch)
    ApplyRun.objects.filter(world=world).update(attempts=MOST_COUNTED)

    with monkeypatch.context() as patch:
        patch.setattr("worlds.work.live_runs.count_failure", wait_in_vain)
        tick()
    tick()

    assert states_of_runs() == {"w1": RunState.QUEUED, "w2": RunState.DONE}
    assert ApplyRun.objects.get(world=world).attempts == MOST_COUNTED


def test_gate_whose_world_is_locked_when_its_time_is_over_does_not_keep_the_tick_from_the_rest(
    world: World, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_in_two_worlds(world, alice, bob)
    GateHold.objects.create(
        world=world, kind="freeze", owner="gate", level="closed", placed_at=database_now(), expires_at=database_now()
    )

    with monkeypatch.context() as patch:
        patch.setattr("worlds.services.gate_levels._expire", wait_in_vain)
        tick()
    went_on, held = states_of_runs()["w2"], GateHold.objects.filter(owner="gate").exists()
    tick()

    assert (went_on, held) == (RunState.DONE, True)
    assert not GateHold.objects.filter(owner="gate").exists()


def start_in_two_worlds(world: World, alice: User, bob: User) -> None:
    other = make_world("w2")
    put_policy(other, author=alice, approver=bob)
    add_strategy(other, "good", quality=3)
    for one in (world, other):
        evaluate(one)
        approve_now(one, start(one, alice), bob)


def states_of_runs() -> dict[str, str]:
    return dict(ApplyRun.objects.values_list("world_id", "state"))


def wait_in_vain(**_words: object) -> None:
    raise OperationalError("canceling statement due to lock timeout")


def break_steps_of(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def advance_others(*, world_id: str, run_id: str, act: Act) -> ApplyRun:
        if world_id == world.id:
            raise ZeroDivisionError
        return advance(world_id=world_id, run_id=run_id, act=act)

    monkeypatch.setattr("worlds.work.live_runs.advance", advance_others)
