from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User

from audit.models import AuditChunk, AuditEvent, AuditHighlight, AuditRun, AuditRunState, RunKind
from qmtl_worlds.contracts.errors import (
    InputInvalidError,
    PermissionDeniedError,
    PlanStaleError,
    PolicyNotFoundError,
    RunIdReusedError,
    RunNotFoundError,
    WorldArchivedError,
)
from qmtl_worlds.contracts.states import RunState
from qmtl_worlds.decision.inputs import EvaluationInput
from qmtl_worlds.decision.outcome import Decision
from qmtl_worlds.decision.pipeline import decide
from qmtl_worlds.policy.compiler import CompiledPolicy
from strategies.models import StrategyInstance
from tests.worlds.factories import LAST_CLOSE, add_day, make_world, shell
from tests.worlds.steps import (
    add_best,
    approve_now,
    chain_is_whole,
    evaluate,
    finish,
    first_apply,
    start,
)
from worlds.models import ApplyRun, OutboxEvent, StreakState, World
from worlds.services.authority import act_of_person
from worlds.services.evaluations import EvaluationRequest, request_evaluation
from worlds.services.registry import archive_world
from worlds.stores.clock import database_now
from worlds.work import evaluate as work
from worlds.work.evaluate import evaluate_world
from worlds.work.streaks import read_streaks

pytestmark = pytest.mark.django_db
SCHEDULED = RunKind.SCHEDULED


def streaks_of(world: World) -> dict[str, tuple[int, int]]:
    stored = read_streaks(world.id)
    names = dict(StrategyInstance.objects.values_list("pk", "strategy_id"))
    rows = zip(stored.instance_ids.tolist(), stored.in_streak.tolist(), stored.out_streak.tolist(), strict=True)
    return {names[instance]: (into, out) for instance, into, out in rows}


def test_evaluation_of_a_known_run_id_is_answered_from_the_record(world: World) -> None:
    first = evaluate(world)
    before = AuditEvent.objects.count()

    again = evaluate(world)

    assert again.pk == first.pk
    assert again.decision_bytes() == first.decision_bytes()
    assert AuditEvent.objects.count() == before
    assert read_streaks(world.id).revision == 1


def test_run_id_of_an_evaluation_of_other_data_is_a_conflict(world: World) -> None:
    evaluate(world)

    with pytest.raises(RunIdReusedError):
        evaluate(world, day=-1)


def test_evaluation_of_the_future_is_refused(world: World) -> None:
    request = EvaluationRequest("eval-1", as_of=database_now() + timedelta(days=1))

    with pytest.raises(InputInvalidError):
        request_evaluation(world_id=world.id, request=request, act=shell())


def test_evaluation_without_a_policy_is_refused() -> None:
    world = make_world()

    with pytest.raises(PolicyNotFoundError):
        evaluate(world)


def test_archived_world_is_not_evaluated_any_more(world: World) -> None:
    archive_world(world_id=world.id, act=shell())

    with pytest.raises(WorldArchivedError):
        evaluate(world)

    assert not AuditRun.objects.exists()


def test_approver_cannot_evaluate(world: World, bob: User) -> None:
    with pytest.raises(PermissionDeniedError):
        request_evaluation(
            world_id=world.id, request=EvaluationRequest("eval-1"), act=act_of_person(bob, reason="test")
        )


def test_worker_that_is_rung_for_a_run_that_nobody_started_says_so(world: World) -> None:
    with pytest.raises(RunNotFoundError):
        evaluate_world(world_id=world.id, run_id="nothing", act=shell())


def test_same_evidence_counts_once_however_often_it_is_evaluated(world: World) -> None:
    evaluate(world, "eval-1")
    evaluate(world, "eval-2")
    once = streaks_of(world)
    add_day(world, 1, {"good": 0.01, "better": 0.01, "bad": -0.01})
    evaluate(world, "eval-3", day=1)

    assert once == {"good": (1, 0), "better": (1, 0), "bad": (0, 1)}
    assert streaks_of(world) == {"good": (2, 0), "better": (2, 0), "bad": (0, 2)}


def test_look_back_into_the_past_counts_no_evidence(world: World) -> None:
    evaluate(world, "eval-1")
    evaluate(world, "eval-2", day=-3)

    assert streaks_of(world) == {"good": (1, 0), "better": (1, 0), "bad": (0, 1)}


def test_advisory_evaluation_moves_no_streak(world: World) -> None:
    evaluate(world, kind=RunKind.ADVISORY)

    assert read_streaks(world.id).revision == 0


def test_evaluation_that_another_one_overtakes_is_computed_again_and_counts_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided: list[int] = []

    def decide_while_another_finishes(policy: CompiledPolicy, inputs: EvaluationInput, *, now: datetime) -> Decision:
        decided.append(len(decided))
        if len(decided) == 1:
            evaluate(world, "eval-other")
        return decide(policy, inputs, now=now)

    monkeypatch.setattr(work, "decide", decide_while_another_finishes)

    run = evaluate(world, "eval-1")

    assert run.state == AuditRunState.OK
    assert len(decided) == 3
    assert streaks_of(world) == {"good": (1, 0), "better": (1, 0), "bad": (0, 1)}
    assert read_streaks(world.id).revision == 2
    assert chain_is_whole(world)


@pytest.mark.parametrize("kind", [RunKind.MANUAL, RunKind.ADVISORY])
def test_same_run_computed_by_two_workers_is_stored_once(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: RunKind
) -> None:
    decided: list[int] = []

    def decide_while_the_twin_finishes(policy: CompiledPolicy, inputs: EvaluationInput, *, now: datetime) -> Decision:
        decided.append(len(decided))
        if len(decided) == 1:
            evaluate_world(world_id=world.id, run_id="eval-1", act=shell())
        return decide(policy, inputs, now=now)

    monkeypatch.setattr(work, "decide", decide_while_the_twin_finishes)

    run = evaluate(world, "eval-1", kind=kind)

    assert run.state == AuditRunState.OK
    assert AuditEvent.objects.filter(kind="evaluation.recorded").count() == 1
    assert AuditChunk.objects.count() == 1


def test_evaluation_that_refuses_ends_as_an_error_with_the_reason_and_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> object:
        raise InputInvalidError(field="keys", reason="must name each instance once")

    monkeypatch.setattr(work, "decide", refuse)

    run = evaluate(world)

    assert (run.state, run.error) == (AuditRunState.ERROR, "keys: must name each instance once.")
    assert read_streaks(world.id).revision == 0
    assert AuditEvent.objects.filter(kind="evaluation.failed", run_id="eval-1").exists()
    assert not AuditHighlight.objects.exists()


def test_failure_while_storing_leaves_neither_streaks_nor_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(*_args: object, **_kwargs: object) -> object:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(work, "announce", break_off)
        with pytest.raises(RuntimeError):
            evaluate(world)
    broken = AuditRun.objects.get(run_id="eval-1").state, read_streaks(world.id).revision

    run = evaluate_world(world_id=world.id, run_id="eval-1", act=shell())

    assert broken == (AuditRunState.RUNNING, 0)
    assert run.state == AuditRunState.OK
    assert StreakState.objects.get(world=world).updated_by_run == "eval-1"


def test_evaluation_where_half_of_the_active_are_unknown_blocks_increases(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    add_best(world)
    StrategyInstance.objects.filter(strategy_id__in=["good", "better"]).update(
        fresh_until=database_now() - timedelta(days=1)
    )

    run = evaluate(world, "slot-1", day=1, kind=SCHEDULED)

    assert run.state == AuditRunState.INCONCLUSIVE
    assert not ApplyRun.objects.exclude(run_id="run-1").exists()


def test_plan_of_an_older_evaluation_is_stale_once_newer_data_has_decided(world: World, alice: User) -> None:
    evaluate(world, "eval-old", day=-1)
    evaluate(world, "eval-new")

    with pytest.raises(PlanStaleError):
        start(world, alice, "run-1", "eval-old")


def test_look_back_does_not_count_as_the_newest_proof(world: World, alice: User, bob: User) -> None:
    evaluate(world, "eval-1")
    run = start(world, alice)
    evaluate(world, "eval-past", day=-55)
    approve_now(world, run, bob)

    assert finish(world, "run-1").state == RunState.DONE


def test_evaluation_tells_that_it_has_ended(world: World) -> None:
    evaluate(world)

    told = OutboxEvent.objects.get(kind="evaluation_run_updated").payload
    assert told == {"run_id": "eval-1", "verdict": "ok", "has_plan": True}


def test_evaluation_names_the_time_of_its_data(world: World) -> None:
    assert evaluate(world).as_of == LAST_CLOSE
