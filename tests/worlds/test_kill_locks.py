from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, connections, transaction

from audit.chain import kill_chain
from audit.models import AuditEvent, AuditHead
from audit.verification import verify_stored_chain
from tests.worlds.factories import act_of, make_world, person
from tests.worlds.threads import together
from worlds.models import GateHold, World
from worlds.services.changes import locked_world
from worlds.services.kills import ATTEMPTS, kill

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres, pytest.mark.slow]


@pytest.fixture
def quiet() -> World:
    return make_world()


@pytest.fixture
def alice() -> User:
    return person("alice", "operator")


@contextmanager
def hanging(work: Callable[[], object]) -> Iterator[None]:
    """Let another connection do ``work`` in a transaction that hangs as long as the block."""
    done, over = threading.Event(), threading.Event()

    def run() -> None:
        try:
            with transaction.atomic():
                work()
                done.set()
                over.wait(60)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert done.wait(30)
        yield
    finally:
        over.set()
        thread.join(60)


def test_kill_commits_while_another_transaction_holds_the_world_and_the_commands_too(quiet: World, alice: User) -> None:
    act = act_of(alice)

    with hanging(lambda: locked_world(quiet.id)):
        kill(world_id=quiet.id, act=act)
        call_command("world_kill", quiet.id, "--reason", "fire")
        seen = sorted(GateHold.objects.values_list("owner", flat=True))

    assert seen == ["person:alice", "shell"]
    assert AuditEvent.objects.filter(chain=kill_chain(quiet.id)).count() == 2


def test_kill_commits_while_a_lift_of_the_same_persons_kill_hangs(quiet: World, alice: User) -> None:
    act = act_of(alice)
    kill(world_id=quiet.id, act=act)

    with hanging(lambda: GateHold.objects.filter(owner=act.actor).delete()):
        kill(world_id=quiet.id, act=act)

    (hold,) = GateHold.objects.all()
    assert hold.owner.startswith("person:alice#")
    assert hold.placed_by == "person:alice"


def test_kill_gives_up_loudly_where_the_chain_of_kills_itself_is_held(quiet: World, alice: User) -> None:
    act = act_of(alice)
    kill(world_id=quiet.id, act=act_of(person("bob", "approver")))

    def hold_chain() -> None:
        AuditHead.objects.select_for_update().get(chain=kill_chain(quiet.id))

    assert ATTEMPTS > 1
    with hanging(hold_chain), pytest.raises(DatabaseError):
        kill(world_id=quiet.id, act=act)


def test_kills_at_once_all_close_and_leave_a_whole_chain(quiet: World) -> None:
    people = [person(f"p{number}", "operator") for number in range(6)]
    acts = [act_of(user) for user in people] * 2

    answers = together([partial(kill, world_id=quiet.id, act=act) for act in acts])

    assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert {owner.partition("#")[0] for owner in GateHold.objects.values_list("owner", flat=True)} == {
        act.actor for act in acts
    }
    report = verify_stored_chain(kill_chain(quiet.id), progress=lambda _count: None)
    assert report.finding is None
