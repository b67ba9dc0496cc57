from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.admin.pages import open_act, page, press, text_of
from tests.worlds.factories import make_world, person
from worlds.models import GateHold, Reopening, World

pytestmark = pytest.mark.django_db
SignIn = Callable[[User], Client]


@pytest.fixture
def rita() -> User:
    """Minds the risk."""
    return person("rita", "risk")


def test_kill_says_that_exits_stop_too_and_stops_them(world: World, alice: User, sign_in: SignIn) -> None:
    client = sign_in(alice)

    asked = text_of(open_act(client, world, "kill"))
    told = text_of(press(client, world, "kill"))

    assert "EXITS TOO" in asked
    assert "Killed: no order passes" in told
    assert GateHold.objects.get().level == "closed"


def test_risk_lets_exits_through_and_lifts_the_kill_of_a_paper_world(
    world: World, alice: User, rita: User, sign_in: SignIn
) -> None:
    press(sign_in(alice), world, "kill")
    client = sign_in(rita)

    press(client, world, "let-exits-through")
    level = GateHold.objects.get().level
    told = text_of(press(client, world, "lift-kill"))

    assert level == "reduce_only"
    assert "The kill is lifted" in told
    assert not GateHold.objects.exists()


def test_kill_of_a_live_world_waits_for_a_second_person(rita: User, sign_in: SignIn) -> None:
    live = make_world("w2", mode="live")
    client = sign_in(rita)
    press(client, live, "kill")

    told = text_of(press(client, live, "lift-kill"))

    assert "another person than you" in told
    assert Reopening.objects.get().state == Reopening.State.REQUESTED
    assert GateHold.objects.exists()


def test_operator_is_not_offered_what_is_for_risk(world: World, alice: User, sign_in: SignIn) -> None:
    client = sign_in(alice)
    press(client, world, "kill")

    offered = page(client, world)

    assert "Lift the kill" in offered
    assert "Let exits through" not in offered


def test_suspended_world_is_taken_up_by_an_approver(world: World, alice: User, bob: User, sign_in: SignIn) -> None:
    press(sign_in(alice), world, "suspend")
    suspended = World.objects.get().state
    press(sign_in(bob), world, "take-up")

    assert (suspended, World.objects.get().state) == ("SUSPENDED", "ACTIVE")
