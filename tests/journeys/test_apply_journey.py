from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from django.contrib.auth.models import User

from audit.models import AuditRun, AuditRunState
from qmtl_worlds.contracts.states import RunState
from tests.journeys.processes import Server, serve
from tests.unit.embedded.waiting import eventually
from tests.worlds.factories import LAST_CLOSE, shell
from tests.worlds.steps import (
    BEST,
    BETTER,
    GOOD,
    add_best,
    approve_now,
    chain_is_whole,
    members_now,
    start,
)
from worlds.models import ApplyRun, GateHold, World
from worlds.services.activation import activation_of
from worlds.services.evaluations import EvaluationRequest, request_evaluation
from worlds.stores.redis_projection import read_copy

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def server(redis_client: redis.Redis, tmp_path: Path) -> Iterator[Server]:
    with serve(tmp_path) as running:
        yield running


def soon(server: Server, is_so: Callable[[], bool]) -> None:
    assert eventually(is_so, within_seconds=90), server.logs()


def reached(server: Server, run_id: str, *states: RunState) -> None:
    soon(server, ApplyRun.objects.filter(run_id=run_id, state__in=states).exists)


def ask(world: World, run_id: str, *, day: int) -> None:
    request = EvaluationRequest(run_id, as_of=LAST_CLOSE + timedelta(days=day))
    request_evaluation(world_id=world.id, request=request, act=shell())


def decided(server: Server, run_id: str) -> None:
    soon(server, AuditRun.objects.filter(run_id=run_id, state=AuditRunState.OK).exists)


@pytest.fixture
def trading(world: World, alice: User, bob: User, server: Server) -> World:
    """Tick and worker run, and have let ``good`` and ``better`` trade."""
    server.start("tick")
    server.start("worker")
    ask(world, "eval-1", day=0)
    decided(server, "eval-1")
    approve_now(world, start(world, alice), bob)
    reached(server, "run-1", RunState.DONE)
    return world


@pytest.mark.timeout(300)
def test_world_goes_from_evaluation_to_open_gates_though_its_worker_is_killed(
    trading: World, alice: User, bob: User, server: Server
) -> None:
    first = members_now(trading)
    server.kill("worker")
    add_best(trading)
    ask(trading, "eval-2", day=1)  # nobody hears the bell
    server.start("worker")
    decided(server, "eval-2")
    run = start(trading, alice, "run-2", "eval-2")
    server.kill("worker")
    approve_now(trading, run, bob)  # nor this one: the tick carries the run on
    reached(server, "run-2", RunState.DONE)

    assert (first, members_now(trading)) == ({"good", "better"}, {"better", "best"})
    assert trading.generation == 2
    assert not GateHold.objects.exists()
    active = {key: activation_of(world_id=trading.id, key=key).envelope.active for key in (GOOD, BETTER, BEST)}
    assert active == {GOOD: False, BETTER: True, BEST: True}
    soon(server, lambda: copied(trading) == {"better|long", "best|long"})
    assert chain_is_whole(trading)


@pytest.mark.timeout(300)
def test_apply_goes_on_where_tick_and_worker_were_killed_in_the_drain(
    trading: World, alice: User, bob: User, server: Server
) -> None:
    add_best(trading)
    World.objects.filter(pk=trading.pk).update(lease_ms=6_000)  # time enough to kill in
    ask(trading, "eval-2", day=1)
    decided(server, "eval-2")
    approve_now(trading, start(trading, alice, "run-2", "eval-2"), bob)
    reached(server, "run-2", RunState.DRAINING, RunState.FROZEN, RunState.SWITCHED, RunState.DONE)

    server.kill("tick")
    server.kill("worker")
    orphan = ApplyRun.objects.get(run_id="run-2").state
    closed = activation_of(world_id=trading.id, key=BETTER).envelope.active
    server.start("tick")
    reached(server, "run-2", RunState.DONE)

    assert (orphan, closed) == (RunState.DRAINING, False)
    assert members_now(trading) == {"better", "best"}
    assert not GateHold.objects.exists()
    assert chain_is_whole(trading)


def copied(world: World) -> set[str]:
    copy = read_copy(world.id)
    return set(copy.entries) if copy else set()
