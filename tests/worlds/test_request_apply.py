from __future__ import annotations

from dataclasses import replace

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, transaction

from audit.models import AuditRun, AuditRunState
from qmtl_worlds.contracts.errors import (
    EtagMismatchError,
    InputInvalidError,
    PermissionDeniedError,
    PlanStaleError,
    RunIdReusedError,
    RunNotFoundError,
    RunStateError,
    WorldBusyError,
)
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.states import RunState
from tests.worlds.factories import act_of, add_day, add_strategy, shell
from tests.worlds.steps import (
    BAD,
    BEST,
    BETTER,
    GOOD,
    approve_now,
    drained,
    evaluate,
    finish,
    first_apply,
    go_on,
    kinds_of,
    lose,
    members_now,
    start,
    wait_with_increase,
)
from worlds.models import ApplyRun, World
from worlds.selectors import position_of
from worlds.services.activation import activation_of
from worlds.services.apply import ApplyRequest, Requested, request_apply
from worlds.services.evaluations import EvaluationRequest, request_evaluation
from worlds.services.holds import freeze

pytestmark = pytest.mark.django_db


def ask(world: World, operator: User, request: ApplyRequest) -> Requested:
    return request_apply(world_id=world.id, request=request, act=act_of(operator))


def test_same_request_again_is_answered_by_the_same_run(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)

    again = ask(world, alice, ApplyRequest("run-1", "eval-1"))

    assert again.replayed
    assert again.run.state == RunState.DONE
    assert again.run.result == {"outcome": "done", "reason": "completed", "generation": 1}
    assert ApplyRun.objects.count() == 1


@pytest.mark.parametrize(
    "other", [ApplyRequest("run-1", "eval-2"), ApplyRequest("run-1", "eval-1", activate=(GOOD,), deactivate=())]
)
def test_another_request_under_the_same_run_id_is_a_conflict_that_changes_nothing(
    world: World, alice: User, other: ApplyRequest
) -> None:
    evaluate(world)
    run = start(world, alice)
    world.refresh_from_db()
    before = world.sequence

    with pytest.raises(RunIdReusedError):
        ask(world, alice, other)

    world.refresh_from_db()
    assert world.sequence == before
    assert ApplyRun.objects.get() == run


def test_request_that_names_an_evaluation_that_never_was_is_not_found(world: World, alice: User) -> None:
    with pytest.raises(RunNotFoundError):
        start(world, alice, "run-1", "nothing")


@pytest.mark.parametrize("state", [AuditRunState.RUNNING, AuditRunState.ERROR])
def test_evaluation_that_did_not_decide_cannot_be_applied(world: World, alice: User, state: AuditRunState) -> None:
    request_evaluation(world_id=world.id, request=EvaluationRequest("eval-1"), act=shell())
    AuditRun.objects.update(state=state)

    with pytest.raises(RunStateError):
        start(world, alice)


@pytest.mark.parametrize("run_id", ["", "a b", "x" * 129, "-a", "a\n", "a/b", "a|b"])
def test_run_id_outside_the_pattern_is_refused(world: World, alice: User, run_id: str) -> None:
    evaluate(world)

    with pytest.raises(InputInvalidError):
        start(world, alice, run_id)


def test_approver_cannot_request_an_apply(world: World, bob: User) -> None:
    evaluate(world)

    with pytest.raises(PermissionDeniedError):
        start(world, bob)


def test_plan_of_an_evaluation_from_another_set_is_stale(world: World, alice: User, bob: User) -> None:
    evaluate(world, "eval-early")
    first_apply(world, alice, bob)

    with pytest.raises(PlanStaleError):
        start(world, alice, "run-2", "eval-early")


def test_plan_that_the_caller_did_not_see_is_stale(world: World, alice: User) -> None:
    evaluate(world)

    with pytest.raises(PlanStaleError):
        ask(world, alice, ApplyRequest("run-1", "eval-1", plan_hash="sha256:" + "0" * 64))


def test_request_on_an_older_sight_of_the_world_is_refused(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    evaluate(world, "eval-2")
    seen = activation_of(world_id=world.id, key=GOOD).envelope.etag
    freeze(world_id=world.id, act=act_of(alice))

    with pytest.raises(EtagMismatchError):
        ask(world, alice, ApplyRequest("run-2", "eval-2", if_match=seen))


def test_request_on_the_present_sight_is_taken_and_a_number_that_only_begins_like_it_is_not(
    world: World, alice: User
) -> None:
    evaluate(world)
    world.refresh_from_db()
    present = position_of(world)
    longer = replace(present, hold_sequence=int(f"{present.hold_sequence}5"))

    with pytest.raises(EtagMismatchError):
        ask(world, alice, ApplyRequest("run-1", "eval-1", if_match=f'"{longer.text}-aa"'))

    assert not ask(world, alice, ApplyRequest("run-1", "eval-1", if_match=f'"{present.text}-aa"')).replayed


def test_increase_while_another_one_is_under_way_is_busy_and_names_it(world: World, alice: User, bob: User) -> None:
    run = drained(world, wait_with_increase(world, alice, bob), bob)
    evaluate(world, "eval-3", day=1)

    with pytest.raises(WorldBusyError) as caught:
        start(world, alice, "run-3", "eval-3")

    assert caught.value.facts["holder_run_id"] == run.run_id


def test_newer_request_supersedes_the_one_that_waits(world: World, alice: User) -> None:
    evaluate(world)
    older = start(world, alice)
    evaluate(world, "eval-2")

    newer = start(world, alice, "run-2", "eval-2")

    older.refresh_from_db()
    assert (older.state, older.state_reason) == (RunState.CANCELLED, "superseded")
    assert newer.state == RunState.REQUESTED
    assert kinds_of(older)[-1] == "apply.superseded"


def test_plan_with_both_parts_takes_away_at_once_and_gives_after_approval(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    add_strategy(world, "best", quality=9)
    add_day(world, 1, {"best": 0.01})
    lose(world, "good")
    evaluate(world, "eval-2", day=1)

    run = start(world, alice, "run-2", "eval-2")
    go_on(world, "run-2")
    reduced = members_now(world)
    approve_now(world, run, bob)
    finish(world, "run-2")

    assert run.reduce_run is not None
    assert (run.reduce_run.run_id, reduced) == ("run-2:reduce", {"better"})
    assert members_now(world) == {"better", "best"}


def test_name_of_the_reducing_part_that_is_taken_is_a_conflict(world: World, alice: User, bob: User) -> None:
    evaluate(world)
    start(world, alice, "run-2:reduce")
    first_apply_after(world, alice, bob)
    add_strategy(world, "best", quality=9)
    add_day(world, 1, {"best": 0.01})
    lose(world, "good")
    evaluate(world, "eval-2", day=1)

    with pytest.raises(RunIdReusedError):
        start(world, alice, "run-2", "eval-2")


def first_apply_after(world: World, alice: User, bob: User) -> None:
    evaluate(world)
    approve_now(world, start(world, alice), bob)
    finish(world, "run-1")


def test_long_run_ids_get_reducing_parts_of_their_own(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    add_strategy(world, "best", quality=9)
    add_day(world, 1, {"best": 0.01})
    lose(world, "good")
    evaluate(world, "eval-2", day=1)
    ids = [f"{'x' * 127}{end}" for end in "ab"]

    parts = [start(world, alice, run_id, "eval-2").reduce_run for run_id in ids]

    names = {part.run_id for part in parts if part is not None}
    assert len(names) == 2
    assert all(len(name) <= 128 and name.endswith(":reduce") for name in names)


def test_plan_without_a_change_ends_at_once_and_makes_no_generation(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    evaluate(world, "eval-2")

    start(world, alice, "run-2", "eval-2")
    done = go_on(world, "run-2")

    assert done.state == RunState.DONE
    assert members_now(world) == {"good", "better"}
    assert world.generation == 1


def test_plan_by_hand_takes_over_only_what_is_named(world: World, alice: User, bob: User) -> None:
    evaluate(world)

    run = ask(world, alice, ApplyRequest("run-1", "eval-1", activate=(GOOD,))).run
    approve_now(world, run, bob)
    finish(world, "run-1")

    assert members_now(world) == {"good"}


def test_plan_by_hand_may_take_out_any_member_at_once(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    evaluate(world, "eval-2")

    run = ask(world, alice, ApplyRequest("run-2", "eval-2", deactivate=(BETTER,))).run
    done = go_on(world, run.run_id)

    assert (run.kind, done.state) == ("reduce", RunState.DONE)
    assert members_now(world) == {"good"}


@pytest.mark.parametrize(("activate", "deactivate"), [((BAD,), ()), ((BEST,), ()), ((), (GOOD,)), ((GOOD,), (GOOD,))])
def test_plan_by_hand_that_names_what_cannot_be_is_refused(
    world: World, alice: User, activate: tuple[InstanceKey, ...], deactivate: tuple[InstanceKey, ...]
) -> None:
    evaluate(world)

    with pytest.raises(InputInvalidError):
        ask(world, alice, ApplyRequest("run-1", "eval-1", activate=activate, deactivate=deactivate))

    assert not ApplyRun.objects.exists()


def test_plan_by_hand_that_breaks_a_budget_is_refused_when_it_is_asked_for(
    world: World, alice: User, bob: User
) -> None:
    wait_with_increase(world, alice, bob)

    with pytest.raises(InputInvalidError, match="by_side"):
        ask(world, alice, ApplyRequest("run-3", "eval-2", activate=(BEST,)))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE worlds_activationset SET content_hash = 'x'",
        "DELETE FROM worlds_activationset",
        "UPDATE worlds_activationentry SET weight = 1",
        "UPDATE worlds_approval SET person = 'mallory'",
        "DELETE FROM worlds_approval",
        "UPDATE worlds_applyrun SET result = NULL",
        "DELETE FROM worlds_applyrun",
    ],
)
def test_database_itself_refuses_to_rewrite_history(world: World, alice: User, bob: User, change: str) -> None:
    first_apply(world, alice, bob)

    with pytest.raises(DatabaseError), transaction.atomic(), transaction.get_connection().cursor() as cursor:
        cursor.execute(change)
