from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection

from audit.chain import kill_chain
from audit.models import AuditEvent, AuditRunState
from audit.verification import verify_stored_chain
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import PermissionDeniedError, StrategyNotFoundError, WorldNotFoundError
from qmtl_worlds.contracts.states import RunState
from tests.worlds.factories import act_of, person, shell
from tests.worlds.kill_steps import ask_lift, follow_up, gate_of
from tests.worlds.steps import (
    BEST,
    BETTER,
    GOOD,
    add_best,
    approve_now,
    drained,
    evaluate,
    first_apply,
    go_on,
    members_now,
    start,
    states_of,
    wait_with_increase,
)
from worlds.models import ApplyRun, Demotion, GateHold, OutboxEvent, World
from worlds.selectors import get_world, position_of
from worlds.services.activation import activation_of
from worlds.services.authority import act_of_token
from worlds.services.kills import kill
from worlds.services.tokens import create_token
from worlds.stores import kill_file, notices

pytestmark = pytest.mark.django_db
Captured = Callable[..., AbstractContextManager[object]]


@pytest.fixture(autouse=True)
def _no_file_is_left() -> Iterator[None]:
    yield
    assert kill_file.filed_kills() == ()


@pytest.fixture
def rita() -> User:
    """Minds the risk."""
    return person("rita", "risk")


def test_kill_closes_at_once_and_touches_neither_sequence_nor_outbox(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    before, told = position_of(get_world(world.id)), OutboxEvent.objects.count()

    kill(world_id=world.id, act=act_of(alice, "smoke"))

    after = position_of(get_world(world.id))
    assert gate_of(world) == ("closed", "killed")
    assert (after.sequence, after.hold_sequence) == (before.sequence, before.hold_sequence + 1)
    assert OutboxEvent.objects.count() == told
    event = AuditEvent.objects.get(chain=kill_chain(world.id))
    assert (event.kind, event.actor, event.reason) == ("gate.killed", "person:alice", "smoke")


def test_kill_gives_notice_to_all_who_serve_the_world_once_it_is_committed(
    world: World, alice: User, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Captured
) -> None:
    told: list[str] = []
    monkeypatch.setattr(notices, "tell", told.append)

    with django_capture_on_commit_callbacks(execute=True):
        kill(world_id=world.id, act=act_of(alice))

        assert told == []

    assert told == [world.id]


def test_kill_twice_is_once_and_two_persons_kill_twice(world: World, alice: User, bob: User) -> None:
    for user in (alice, alice, bob):
        kill(world_id=world.id, act=act_of(user))

    assert sorted(GateHold.objects.values_list("owner", flat=True)) == ["person:alice", "person:bob"]
    assert AuditEvent.objects.filter(kind="gate.killed").count() == 2


def test_bus_hears_of_a_kill_once_at_the_next_tick(world: World, alice: User) -> None:
    kill(world_id=world.id, act=act_of(alice))

    follow_up()
    follow_up()

    told = OutboxEvent.objects.filter(world=world, payload__hold="kill")
    assert [event.payload for event in told] == [{"hold": "kill", "hold_sequence": 1}]
    assert told.get().sequence == get_world(world.id).sequence


def test_promotions_are_forbidden_until_the_kill_is_lifted(world: World, alice: User, bob: User, rita: User) -> None:
    first_apply(world, alice, bob)
    kill(world_id=world.id, act=act_of(alice))
    add_best(world)
    evaluated = evaluate(world, "eval-2", day=1)
    blocked = start(world, alice, "run-2", "eval-2")
    approve_now(world, blocked, bob)
    go_on(world, "run-2")

    assert evaluated.state == AuditRunState.OK
    assert states_of(blocked)[0] == RunState.CANCELLED

    ask_lift(world, rita)
    run = drained(world, start(world, alice, "run-3", "eval-2"), bob)
    go_on(world, "run-3")

    assert states_of(run)[0] == RunState.DONE
    assert "best" in members_now(world)


def test_killed_instance_is_closed_at_once_and_leaves_by_the_next_reduce_run(
    world: World, alice: User, bob: User
) -> None:
    first_apply(world, alice, bob)
    kill(world_id=world.id, scope=GOOD.text, act=act_of(alice))
    closed, other = gate_of(world), activation_of(world_id=world.id, key=BETTER).envelope

    follow_up()
    follow_up()
    (run,) = ApplyRun.objects.filter(kind="reduce")
    go_on(world, run.run_id)
    follow_up()

    assert closed == ("closed", "killed")
    assert other.active
    assert run.run_id.startswith("kill:")
    assert members_now(world) == {"better"}
    assert Demotion.objects.get().demoted_at == GateHold.objects.get().placed_at
    assert ApplyRun.objects.filter(kind="reduce").count() == 1


def test_killed_instance_is_not_promoted_again_before_the_lift(world: World, alice: User, bob: User) -> None:
    run = wait_with_increase(world, alice, bob)
    approve_now(world, run, bob)
    kill(world_id=world.id, scope=BEST.text, act=act_of(alice))

    go_on(world, run.run_id)

    assert states_of(run)[0] == RunState.CANCELLED


def test_kill_follows_the_matrix_of_roles(world: World, bob: User) -> None:
    with pytest.raises(PermissionDeniedError):
        kill(world_id=world.id, act=act_of(person("vera", "viewer")))
    with pytest.raises(WorldNotFoundError):
        kill(world_id=world.id, act=act_of(person("sam")))
    kill(world_id=world.id, act=act_of(bob))

    assert GateHold.objects.get().placed_by == "person:bob"


def test_runner_kills_the_strategies_that_its_token_names_and_no_other(world: World) -> None:
    def act(*strategies: str) -> Act:
        made = create_token(role="runner", name="r", worlds=(world.id,), strategies=strategies, act=shell())
        return act_of_token(made.token, reason="fat finger")

    own, every = act("good"), act()
    kill(world_id=world.id, scope=GOOD.text, act=own)

    for one, scope in ((own, ""), (own, BETTER.text), (every, GOOD.text)):
        with pytest.raises((PermissionDeniedError, StrategyNotFoundError)):
            kill(world_id=world.id, scope=scope, act=one)
    assert [hold.scope for hold in GateHold.objects.all()] == [GOOD.text]


def test_chain_of_kills_and_chain_of_the_world_are_whole(world: World, alice: User, rita: User) -> None:
    kill(world_id=world.id, act=act_of(alice))
    follow_up()
    ask_lift(world, rita)

    for chain in (world.id, kill_chain(world.id)):
        assert verify_stored_chain(chain, progress=lambda _count: None).finding is None


def test_command_kills_with_the_database_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worlds.stores.redis_projection._client", lambda: pytest.fail("Redis was asked"))

    call_command("world_kill", world.id, "--reason", "fire", "--strategy", "good")

    hold = GateHold.objects.get()
    assert (hold.kind, hold.scope, hold.owner, hold.reason) == ("kill", GOOD.text, "shell", "fire")


@pytest.mark.parametrize("arguments", [("w9",), ("W!",), ("w1", "--strategy", "../x")])
def test_command_says_why_it_refuses(world: World, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        call_command("world_kill", *arguments, "--reason", "fire")

    assert not GateHold.objects.exists()


def test_limits_of_a_kill_end_with_its_transaction(world: World, alice: User) -> None:
    if connection.vendor != "postgresql":
        with connection.cursor() as cursor:
            before = cursor.execute("PRAGMA busy_timeout").fetchone()
            kill(world_id=world.id, act=act_of(alice))
            assert cursor.execute("PRAGMA busy_timeout").fetchone() == before
        return
    kill(world_id=world.id, act=act_of(alice))
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("1s",)
