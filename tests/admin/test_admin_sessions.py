from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from qmtl_worlds.contracts.lease import Position
from tests.admin.conftest import SignIn
from tests.admin.pages import text_of
from tests.worlds.factories import make_world, person
from worlds.models import RunnerSession, World
from worlds.selectors import position_of
from worlds.services.sessions import Heard, forget_sessions, note_sessions
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db


def hear(world: World, client_id: str, held: Position, *, skew_ms: float | None = None, minutes_ago: int = 0) -> None:
    at = database_now() - timedelta(minutes=minutes_ago)
    note_sessions([Heard(world.id, client_id, "t", "stream", held, skew_ms, at, at, at)])


def test_page_counts_who_has_the_newest_state_and_names_the_slowest(world: World, alice: User, sign_in: SignIn) -> None:
    present = position_of(World.objects.get(id="w1"))
    for number in range(37):
        hear(world, f"r{number:02}", present, skew_ms=48.0 + number)
    hear(world, "gone", present, minutes_ago=5)
    client = sign_in(alice)

    all_have_it = text_of(client.get(reverse("admin:worlds_runners", args=["w1"])))
    hear(world, "r00", Position(present.incarnation, present.sequence - 1, 0), skew_ms=3.0)
    hear(world, "new", Position(0, 0, 0))
    two_do_not = text_of(client.get(reverse("admin:worlds_runners", args=["w1"])))

    assert "37 of 37 have the newest state, slowest 84 ms" in all_have_it
    assert "gone" not in all_have_it
    assert "36 of 38 have the newest state" in two_do_not
    assert "behind" in two_do_not


def test_runners_of_a_world_that_may_not_be_read_are_not_found(world: World, sign_in: SignIn) -> None:
    make_world("other")
    client = sign_in(person("olga", "operator", world=world))

    for name in ("worlds_runners", "worlds_runners_status"):
        assert client.get(reverse(f"admin:{name}", args=["w1"])).status_code == 200
        assert client.get(reverse(f"admin:{name}", args=["other"])).status_code == 404
        assert client.get(reverse(f"admin:{name}", args=["none"])).status_code == 404


def test_open_page_learns_that_a_runner_has_caught_up(world: World, alice: User, sign_in: SignIn) -> None:
    client, address = sign_in(alice), reverse("admin:worlds_runners_status", args=["w1"])
    hear(world, "r1", Position(0, 0, 0))
    before = client.get(address).json()["token"]

    again = client.get(address).json()["token"]
    hear(world, "r1", position_of(World.objects.get(id="w1")))

    assert again == before != client.get(address).json()["token"]


def test_runner_that_nobody_heard_of_for_a_day_is_forgotten(world: World) -> None:
    hear(world, "old", position_of(World.objects.get(id="w1")), minutes_ago=60 * 25)
    hear(world, "new", position_of(World.objects.get(id="w1")), minutes_ago=60)

    forgotten = forget_sessions(now=database_now())

    assert (forgotten, RunnerSession.objects.get().client_id) == (1, "new")


def test_session_in_a_world_that_is_gone_is_left_out(world: World) -> None:
    at = database_now()

    note_sessions([Heard("gone", "r1", "t", "poll", Position(1, 1, 0), None, at, at, None)])

    assert not RunnerSession.objects.exists()
