from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from qmtl_worlds.contracts.states import RunState
from qmtl_worlds.lifecycle.holds import HoldKind, make_hold
from tests.admin.conftest import SignIn
from tests.admin.pages import open_act, page, press, text_of
from tests.worlds.circuits import limit, push
from tests.worlds.factories import person, shell
from tests.worlds.steps import GOOD, approve_now, first_apply, go_on, wait_with_increase
from worlds.models import Alert, ApplyRun, GateHold, Override, Pin, Reopening, World
from worlds.services.alerts import raise_alert
from worlds.services.authority import act_of_system
from worlds.services.holds import place_hold
from worlds.services.overrides import expire_overrides
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db


@pytest.fixture
def rita() -> User:
    """Minds the risk."""
    return person("rita", "risk")


@pytest.fixture
def applied(world: World, alice: User, bob: User) -> World:
    """``good`` and ``better`` trade, 30 % each."""
    first_apply(world, alice, bob)
    return world


def test_override_is_laid_shown_and_ended_by_two_people(
    applied: World, alice: User, bob: User, sign_in: SignIn
) -> None:
    client, instance = sign_in(alice), applied.instances.get(strategy_id="good")

    laid = text_of(press(client, instance, "override", what="cap", percent=10, hours=2, reason="bad fills"))
    shown = page(client, applied)
    asked = text_of(press(client, Override.objects.get(), "end", reason="fills are fine"))
    lies_still = Override.objects.count()
    granted = text_of(press(sign_in(bob), Reopening.objects.get(), "grant"))

    assert "good|long at most 10 % ends in 2 h" in laid
    assert "30 % capped at 10 %" in shown
    assert "bad fills" in shown
    assert "Loosen the override of good|long" in asked
    assert lies_still == 1
    assert "Granted: Loosen the override of good|long." in granted
    assert not Override.objects.exists()


def test_override_that_gives_back_waits_and_one_that_takes_does_not(
    applied: World, alice: User, sign_in: SignIn
) -> None:
    client, instance = sign_in(alice), applied.instances.get(strategy_id="good")

    press(client, instance, "override", what="exits", hours="")
    waits = text_of(press(client, instance, "override", what="cap", percent=20))

    assert "Loosen the override of good|long" in waits
    assert GateHold.objects.get().owner == "override:freeze"


def test_override_without_its_share_is_refused_in_words(applied: World, alice: User, sign_in: SignIn) -> None:
    instance = applied.instances.get(strategy_id="good")

    words = text_of(press(sign_in(alice), instance, "override", what="cap"))

    assert "Say how much it may have at most." in words
    assert not Override.objects.exists()


def test_override_whose_time_is_over_goes_from_the_page(applied: World, alice: User, sign_in: SignIn) -> None:
    client, instance = sign_in(alice), applied.instances.get(strategy_id="good")
    press(client, instance, "override", what="cap", percent=10, hours=1)
    Override.objects.update(expires_at=database_now() - timedelta(seconds=1))

    expire_overrides(act=act_of_system(reason="tick"))

    assert "Laid over" not in page(client, instance)


def test_instance_is_killed_and_the_kill_lifted_on_its_page(
    applied: World, alice: User, rita: User, sign_in: SignIn
) -> None:
    client, instance = sign_in(alice), applied.instances.get(strategy_id="good")

    asked = open_act(client, instance, "kill")
    killed = text_of(press(client, instance, "kill"))
    press(sign_in(rita), instance, "let-exits-through")
    level = GateHold.objects.get(kind="kill").level
    lifted = text_of(press(sign_in(rita), instance, "lift-kill"))

    assert "EXITS TOO" in text_of(asked)
    assert asked.context["form"]["reason"].value() == "Killed by hand"
    assert "closed a kill holds it" in killed
    assert level == "reduce_only"
    assert "The kill is lifted." in lifted


def test_wait_for_a_flat_position_is_waived_by_two_people(
    applied: World, alice: User, bob: User, sign_in: SignIn
) -> None:
    hold = make_hold(HoldKind.AWAITING_FLAT, GOOD.text, key=GOOD)
    place_hold(world=applied, hold=hold, act=shell())
    client, instance = sign_in(alice), applied.instances.get(strategy_id="good")

    shown = page(client, instance)
    press(client, instance, "waive-flat")
    press(sign_in(bob), Reopening.objects.get(), "grant")

    assert "No Runner has confirmed yet that its position is flat." in shown
    assert not GateHold.objects.exists()


def test_request_is_not_granted_by_whoever_asked(applied: World, sign_in: SignIn) -> None:
    rita = person("rita", "risk", "operator")
    client, instance = sign_in(rita), applied.instances.get(strategy_id="good")
    press(client, instance, "override", what="inactive", hours="")
    press(client, Override.objects.get(), "end")
    request = Reopening.objects.get()

    shown = page(client, request)
    refused = text_of(press(client, request, "grant"))
    press(client, request, "withdraw")

    assert "a different person must grant it" in shown
    assert "/act/grant/" not in client.get(reverse("admin:worlds_reopening_change", args=[request.pk])).content.decode()
    assert "different person" in refused
    assert Reopening.objects.get().state == Reopening.State.REJECTED


def test_tripped_circuit_shows_its_figures_and_is_reset(
    applied: World, alice: User, bob: User, rita: User, sign_in: SignIn
) -> None:
    limit(applied, alice, bob)
    push(applied, 1000.0, 850.0, 840.0)
    client = sign_in(rita)

    tripped = page(client, applied)
    reset = text_of(press(client, applied, "reset-circuit", high_water_mark="reset"))

    assert "Risk circuit tripped" in tripped
    assert "Drawdown 16.00 % of 10.00 % over its limit" in tripped
    assert "High-water mark 1,000.00 of" in tripped
    assert "The circuit is reset." in reset
    assert "High-water mark 840.00 of" in reset


def test_operator_asks_for_a_reset_and_risk_grants_it(
    applied: World, alice: User, bob: User, rita: User, sign_in: SignIn
) -> None:
    limit(applied, alice, bob)
    push(applied, 1000.0, 850.0, 840.0)

    asked = text_of(press(sign_in(alice), applied, "reset-circuit", high_water_mark="keep"))
    home = text_of(sign_in(rita).get(reverse("admin:index")))
    press(sign_in(rita), Reopening.objects.get(), "grant")

    assert "The high-water mark is kept" in asked
    assert "Reset the risk circuit in w1 asked by alice" in home
    assert not GateHold.objects.filter(kind="circuit").exists()


def test_pinned_set_is_unpinned_on_the_page(applied: World, alice: User, sign_in: SignIn) -> None:
    client = sign_in(alice)
    press(client, applied, "rollback", query="?to=0", run_id="back")

    pinned = page(client, applied)
    press(client, applied, "unpin")

    assert "Pinned to generation 0" in pinned
    assert not Pin.objects.exists()


def test_hold_names_what_takes_it_away(applied: World, alice: User, bob: User, sign_in: SignIn) -> None:
    press(sign_in(alice), applied, "freeze", reason="exchange outage")

    for_alice = sign_in(alice).get(reverse("admin:worlds_world_change", args=["w1"])).content.decode()
    for_bob = page(sign_in(bob), applied)

    assert 'act-small" href="/admin/worlds/world/w1/act/unfreeze/"' in for_alice
    assert "exchange outage Lifted by operator or risk" in for_bob


def test_suspension_is_told_with_who_and_why(applied: World, alice: User, bob: User, sign_in: SignIn) -> None:
    press(sign_in(alice), applied, "suspend", reason="maintenance")

    shown = page(sign_in(bob), applied)

    assert "closed suspended whole world" in shown
    assert "alice maintenance Take up again" in shown


def test_closing_shows_what_is_committed_and_what_is_effective(applied: World, alice: User, sign_in: SignIn) -> None:
    client = sign_in(alice)
    press(client, applied, "freeze")

    soon = client.get(reverse("admin:worlds_world_change", args=["w1"])).content.decode()
    GateHold.objects.update(placed_at=database_now() - timedelta(minutes=1))
    later = page(client, applied)

    assert "data-countdown=" in soon
    assert "Committed" in soon
    assert "Effective everywhere since" in later


def test_alerts_are_acknowledged_one_by_one_and_in_bulk(applied: World, alice: User, sign_in: SignIn) -> None:
    Alert.objects.all().delete()
    for subject in ("a", "b", "c"):
        raise_alert(world=applied, kind="apply_slow", subject=subject, act=shell())
    client, rows = sign_in(alice), list(Alert.objects.order_by("subject"))
    address = reverse("admin:worlds_alert_changelist")

    press(client, rows[0], "acknowledge")
    chosen = {"action": "acknowledge_chosen", "_selected_action": [row.pk for row in rows]}
    client.post(address, chosen, follow=True)
    seen = client.get(address, {"state": "unseen"}).context["cl"].queryset.count()

    assert seen == 0
    assert {row.acknowledged_by for row in Alert.objects.all()} == {"person:alice"}


def test_viewer_is_not_offered_to_acknowledge(applied: World, sign_in: SignIn) -> None:
    raise_alert(world=applied, kind="apply_slow", subject="a", act=shell())
    client = sign_in(person("vera", "viewer"))
    chosen = {"action": "acknowledge_chosen", "_selected_action": [row.pk for row in Alert.objects.all()]}

    client.post(reverse("admin:worlds_alert_changelist"), chosen)

    assert not Alert.objects.exclude(acknowledged_by="").exists()
    assert "/act/acknowledge/" not in client.get(reverse("admin:worlds_world_change", args=["w1"])).content.decode()


@pytest.mark.parametrize("state", ["queued", "freezing", "draining", "frozen", "switched"])
def test_run_is_aborted_in_every_state_in_which_it_goes_on(
    world: World, alice: User, bob: User, sign_in: SignIn, state: str
) -> None:
    run = wait_with_increase(world, alice, bob)
    ApplyRun.objects.filter(pk=run.pk).update(state=state)

    words = page(sign_in(alice), run)

    assert "Abort" in words
    assert "Roll back" not in words


def test_held_run_says_what_resuming_and_rolling_back_do(world: World, alice: User, bob: User, sign_in: SignIn) -> None:
    run = wait_with_increase(world, alice, bob)
    approve_now(world, run, bob)
    go_on(world, run.run_id)
    ApplyRun.objects.filter(pk=run.pk).update(state=RunState.HELD)
    client = sign_in(bob)

    resumes = text_of(open_act(client, run, "resume"))
    rolls_back = text_of(open_act(client, run, "roll-back"))
    press(client, run, "roll-back")

    assert "freezes and drains again from the start" in resumes
    assert "The set from before this run" in rolls_back
    assert ApplyRun.objects.get(pk=run.pk).state == RunState.ROLLED_BACK


def test_accounts_are_switched_off_never_deleted(alice: User, admin_client: Client) -> None:
    answer = admin_client.post(reverse("admin:auth_user_delete", args=[alice.pk]), {"post": "yes"})

    assert answer.status_code == 403
    assert User.objects.filter(pk=alice.pk).exists()
