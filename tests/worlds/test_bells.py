from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from celery import Celery
from django.conf import settings
from django.contrib.auth.models import User
from pytest_django import DjangoCaptureOnCommitCallbacks

from audit.models import AuditRun, AuditRunState
from qmtl_worlds.contracts.errors import StoreUnavailableError
from qmtl_worlds.contracts.states import RunState
from tests.worlds.factories import LAST_CLOSE, shell
from tests.worlds.steps import approve_now, evaluate, start
from worlds.models import ApplyRun, World
from worlds.services import dispatch
from worlds.services.advance import advance
from worlds.services.evaluations import EvaluationRequest, request_evaluation
from worlds.tasks import advance_task, evaluate_task
from worlds.work.tick import tick

pytestmark = pytest.mark.django_db


@pytest.fixture
def no_broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody listens where bells are rung, and whoever waits for it fails."""

    def fall_asleep(_seconds: float) -> None:
        pytest.fail("waits for a broker that is not there")

    deaf = Celery("deaf", broker="redis://127.0.0.1:1/0", set_as_current=False)
    monkeypatch.setattr(dispatch, "app", deaf)
    monkeypatch.setattr("kombu.utils.functional.sleep", fall_asleep)
    dispatch._broker.cache_clear()  # noqa: SLF001 - the connection to the other broker
    yield
    dispatch._broker.cache_clear()  # noqa: SLF001


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_request_without_a_broker_is_recorded_and_the_tick_carries_it_out(
    world: World, alice: User, bob: User, no_broker: None
) -> None:
    evaluate(world)
    approve_now(world, start(world, alice), bob)

    tick()

    assert ApplyRun.objects.get().state == RunState.DONE


def test_only_what_can_go_on_is_rung_for(
    world: World,
    alice: User,
    bob: User,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    rung: list[object] = []
    monkeypatch.setattr(dispatch, "ring", lambda **words: rung.append(words["run_id"]))
    evaluate(world)

    with django_capture_on_commit_callbacks(execute=True):
        waiting = start(world, alice)
    rung_at_request = list(rung)
    with django_capture_on_commit_callbacks(execute=True):
        approve_now(world, waiting, bob)

    assert rung_at_request == []
    assert rung == [waiting.run_id]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_bell_is_rung_only_after_the_commit_and_names_nothing_but_the_run(
    world: World, redis_client: redis.Redis
) -> None:
    broker = redis.Redis.from_url(settings.REDIS.for_client(1), decode_responses=True)
    before = broker.llen("compute")

    request_evaluation(world_id=world.id, request=EvaluationRequest("eval-1", as_of=LAST_CLOSE), act=shell())

    messages = broker.lrange("compute", 0, -1)
    broker.close()
    assert (before, len(messages)) == (0, 1)


def test_question_without_a_broker_is_refused_at_once(no_broker: None) -> None:
    with pytest.raises(StoreUnavailableError):
        dispatch.send(task=dispatch.PREVIEW, queue="compute", reply_to="reply:1")


def test_duplicate_and_late_bells_change_nothing(world: World, alice: User, bob: User) -> None:
    evaluate(world)
    approve_now(world, start(world, alice), bob)
    for _ in range(3):
        advance_task(world_id=world.id, run_id="run-1", unknown="an older caller's word")
    world.refresh_from_db()
    sequence = world.sequence

    advance_task(world_id=world.id, run_id="run-1")
    evaluate_task(world_id=world.id, run_id="eval-1")

    world.refresh_from_db()
    assert ApplyRun.objects.get().state == RunState.DONE
    assert (world.generation, world.sequence) == (1, sequence)


def test_bell_for_a_run_that_waits_for_approval_moves_nothing(world: World, alice: User) -> None:
    evaluate(world)
    start(world, alice)

    run = advance(world_id=world.id, run_id="run-1", act=shell())

    assert run.state == RunState.REQUESTED
    assert run.epoch == 0


def test_evaluation_that_breaks_ends_as_an_error_and_nobody_waits_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(**_facts: object) -> AuditRun:
        raise ZeroDivisionError("a fault of ours")

    request_evaluation(world_id=world.id, request=EvaluationRequest("eval-1"), act=shell())
    monkeypatch.setattr("worlds.tasks.evaluate_world", break_down)

    evaluate_task(world_id=world.id, run_id="eval-1")

    run = AuditRun.objects.get()
    assert (run.state, run.error) == (AuditRunState.ERROR, "ZeroDivisionError: a fault of ours")
