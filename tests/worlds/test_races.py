from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import redis
from django.contrib.auth.models import User

from audit.models import AuditEvent, AuditRun, AuditRunState
from qmtl_worlds.contracts.errors import RunStateError, WorldsError
from qmtl_worlds.contracts.states import TERMINAL_STATES, RunState
from tests.worlds.factories import LAST_CLOSE, POLICY, act_of, person, put_policy, shell
from tests.worlds.steps import (
    BEST,
    GOOD,
    approve_now,
    chain_is_whole,
    drained,
    evaluate,
    go_on,
    members_now,
    start,
    wait_with_increase,
)
from tests.worlds.threads import together
from worlds.models import ApplyRun, Approval, GateHold, OutboxEvent, World
from worlds.services.activation import activation_of
from worlds.services.apply import ApplyRequest, Requested, request_apply
from worlds.services.approvals import reject
from worlds.services.authority import act_of_schedule
from worlds.services.evaluations import EvaluationRequest, request_evaluation
from worlds.services.holds import freeze
from worlds.services.scheduling import claim_due_slots
from worlds.work.evaluate import evaluate_world
from worlds.work.streaks import read_streaks
from worlds.work.tick import tick

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture(autouse=True)
def _broker(redis_client: redis.Redis) -> None:
    """Bells are rung after commits here; let somebody take them."""


def outbox_is_whole(world: World) -> bool:
    world.refresh_from_db()
    told = OutboxEvent.objects.filter(world=world).order_by("sequence").values_list("sequence", flat=True)
    return list(told) == list(range(1, world.sequence + 1))


def test_eight_requests_at_once_leave_one_live_increase(world: World, alice: User) -> None:
    evaluate(world)
    act = act_of(alice)

    answers = together(
        [
            partial(request_apply, world_id=world.id, request=ApplyRequest(f"run-{n}", "eval-1"), act=act)
            for n in range(8)
        ]
    )

    assert all(isinstance(answer, Requested) for answer in answers)
    assert ApplyRun.objects.count() == 8
    assert ApplyRun.objects.exclude(state__in=TERMINAL_STATES).count() == 1
    assert chain_is_whole(world)
    assert outbox_is_whole(world)


def test_same_request_eight_times_at_once_is_one_run(world: World, alice: User) -> None:
    evaluate(world)
    act, request = act_of(alice), ApplyRequest("run-1", "eval-1")

    answers = together([partial(request_apply, world_id=world.id, request=request, act=act)] * 8)

    told = [answer.replayed for answer in answers if isinstance(answer, Requested)]
    assert sorted(told) == [False] + [True] * 7
    assert ApplyRun.objects.count() == 1


def test_workers_that_race_carry_a_run_through_each_state_once(world: World, alice: User, bob: User) -> None:
    run = drained(world, wait_with_increase(world, alice, bob), bob)

    together([partial(go_on, world, run.run_id)] * 4)
    go_on(world, run.run_id)

    run.refresh_from_db()
    assert run.state == RunState.DONE
    assert members_now(world) == {"better", "best"}
    assert world.generation == 2
    for kind in ("apply.frozen", "apply.switched", "apply.completed"):
        assert AuditEvent.objects.filter(kind=kind, run_id=run.run_id).count() == 1
    assert chain_is_whole(world)
    assert outbox_is_whole(world)


def test_ticks_that_race_do_no_harm(world: World, alice: User, bob: User) -> None:
    run = drained(world, wait_with_increase(world, alice, bob), bob)

    answers = together([tick] * 3)

    run.refresh_from_db()
    assert answers == []
    assert run.state == RunState.DONE
    assert members_now(world) == {"better", "best"}
    assert chain_is_whole(world)


def test_reader_during_a_switch_sees_the_old_set_or_none_or_the_new_one(world: World, alice: User, bob: User) -> None:
    run = drained(world, wait_with_increase(world, alice, bob), bob)

    def read() -> list[tuple[int, bool, bool, int]]:
        seen = []
        for _ in range(15):
            good, best = (activation_of(world_id=world.id, key=key).envelope for key in (GOOD, BEST))
            seen += [(one.generation, one.active, one.strategy_id == "best", one.sequence) for one in (good, best)]
        return seen

    def switch() -> list[tuple[int, bool, bool, int]]:
        go_on(world, run.run_id)
        return []

    answers = together([read, read, switch])

    seen = [row for answer in answers if isinstance(answer, list) for row in answer]
    assert {(generation, is_best) for generation, active, is_best, _ in seen if active} <= {(2, True)}
    for answer in answers:
        assert isinstance(answer, list)
        sequences = [row[3] for row in answer]
        assert sequences == sorted(sequences)


def test_evaluations_at_once_all_end_and_count_the_evidence_once(world: World) -> None:
    for number in range(4):
        request = EvaluationRequest(f"eval-{number}", as_of=LAST_CLOSE)
        request_evaluation(world_id=world.id, request=request, act=shell())

    answers = together(
        [partial(evaluate_world, world_id=world.id, run_id=f"eval-{number}", act=shell()) for number in range(4)]
    )

    assert [answer.state for answer in answers if isinstance(answer, AuditRun)] == [AuditRunState.OK] * 4
    stored = read_streaks(world.id)
    assert stored.revision == 4
    assert sorted(stored.in_streak.tolist()) == [0, 1, 1]
    assert chain_is_whole(world)


def test_one_evaluation_computed_by_four_workers_is_stored_once(world: World) -> None:
    request_evaluation(world_id=world.id, request=EvaluationRequest("eval-1", as_of=LAST_CLOSE), act=shell())

    answers = together([partial(evaluate_world, world_id=world.id, run_id="eval-1", act=shell())] * 4)

    assert [answer.state for answer in answers if isinstance(answer, AuditRun)] == [AuditRunState.OK] * 4
    assert AuditEvent.objects.filter(kind="evaluation.recorded").count() == 1
    assert read_streaks(world.id).revision == 1


def test_slot_is_claimed_once_by_ticks_that_race(world: World, alice: User, bob: User) -> None:
    put_policy(world, author=alice, approver=bob, version=2, text=POLICY + "schedule: {{every: 1h}}\n")

    answers = together([partial(claim_due_slots, act=act_of_schedule(reason="test"))] * 4)

    assert sorted(len(answer) for answer in answers if isinstance(answer, list)) == [0, 0, 0, 1]
    assert AuditRun.objects.count() == 1


def test_two_approvals_at_once_are_both_counted(world: World, alice: User, bob: User) -> None:
    put_policy(world, author=alice, approver=bob, version=2, text=POLICY + "apply: {{mode: approval, approvals: 2}}\n")
    carol = person("carol", "approver")
    evaluate(world)
    run = start(world, alice)

    together([partial(approve_now, world, run, user) for user in (bob, carol)])

    run.refresh_from_db()
    assert run.state == RunState.QUEUED
    assert Approval.objects.count() == 2


def test_approval_and_rejection_at_once_end_in_one_of_the_two(world: World, alice: User, bob: User) -> None:
    carol = person("carol", "approver")
    evaluate(world)
    run = start(world, alice)
    works: list[Callable[[], ApplyRun]] = [
        partial(approve_now, world, run, bob),
        partial(reject, world_id=world.id, run_id=run.run_id, act=act_of(carol)),
    ]

    answers = together(works)

    refused = [answer for answer in answers if isinstance(answer, WorldsError)]
    run.refresh_from_db()
    assert [type(error) for error in refused] == [RunStateError]
    assert run.state in {RunState.QUEUED, RunState.CANCELLED}


def test_freeze_that_races_with_an_apply_is_never_lost(world: World, alice: User, bob: User) -> None:
    run = drained(world, wait_with_increase(world, alice, bob), bob)

    works: list[Callable[[], object]] = [
        partial(go_on, world, run.run_id),
        partial(freeze, world_id=world.id, act=act_of(alice)),
    ]
    together(works)
    go_on(world, run.run_id)

    assert [hold.kind for hold in GateHold.objects.all()] == ["freeze"]
    assert not activation_of(world_id=world.id, key=GOOD).envelope.active
    assert ApplyRun.objects.get(pk=run.pk).state in {RunState.DONE, RunState.CANCELLED}
