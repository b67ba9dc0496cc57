from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from audit.models import AuditEvent, AuditRun
from qmtl_worlds.contracts.states import RunState
from tests.admin.conftest import SignIn
from tests.admin.pages import open_act, page, press, text_of
from tests.worlds.factories import make_world, person, shell
from tests.worlds.steps import evaluate, first_apply, wait_with_increase
from worlds.models import ApplyRun, GateHold, PolicyVersion, World
from worlds.services.registry import NewWorld, create_world
from worlds.work.evaluate import evaluate_world

pytestmark = pytest.mark.django_db


def test_world_page_says_what_trades_and_what_waits(world: World, alice: User, bob: User, sign_in: SignIn) -> None:
    wait_with_increase(world, alice, bob)

    words = page(sign_in(bob), world)

    assert "Gate open nothing holds it Orders of the active strategies pass." in words
    assert "Apply run-2: 2 changes 0 of 1 approvals" in words
    assert "Active set: 2, long 60 %" in words
    assert "4 of 4 fresh" in words
    assert "Your roles here: approver, auditor." in words


def test_world_page_warns_of_clients_that_do_not_fail_closed(alice: User, sign_in: SignIn) -> None:
    theirs = create_world(new=NewWorld("theirs", compat="qmtl"), act=shell())
    client = sign_in(alice)

    assert "These clients do not fail closed" in page(client, theirs)
    assert "These clients" not in page(client, make_world("ours"))


def test_world_page_of_a_new_world_says_that_nothing_trades(alice: User, sign_in: SignIn) -> None:
    words = page(sign_in(alice), make_world("empty"))

    assert "Gate closed no approved set has ever been applied here" in words
    assert "Empty: nothing trades." in words
    assert "Never evaluated." in words


def test_freeze_and_unfreeze_hold_the_gate_and_say_so(world: World, alice: User, bob: User, sign_in: SignIn) -> None:
    first_apply(world, alice, bob)
    client = sign_in(alice)

    frozen = text_of(press(client, world, "freeze", reason="exchange outage"))
    thawed = text_of(press(client, world, "unfreeze"))

    assert "Gate reduce only an operator froze the world" in frozen
    assert "exchange outage" in frozen
    assert "Gate open" in thawed
    assert not GateHold.objects.exists()


def test_pause_and_resume_are_separate_from_the_gate(world: World, alice: User, sign_in: SignIn) -> None:
    client = sign_in(alice)

    press(client, world, "pause")
    paused = World.objects.get().paused
    press(client, world, "resume")

    assert (paused, World.objects.get().paused) == (True, False)


def test_evaluate_starts_one_run_however_often_it_is_sent(world: World, alice: User, sign_in: SignIn) -> None:
    client = sign_in(alice)

    first = press(client, world, "evaluate", run_id="manual-1")
    press(client, world, "evaluate", run_id="manual-1")

    assert [run.run_id for run in AuditRun.objects.all()] == ["manual-1"]
    assert "Computing for" in text_of(first)
    assert AuditRun.objects.get().actor == "person:alice"


def test_status_of_a_world_changes_when_an_evaluation_ends(world: World, alice: User, sign_in: SignIn) -> None:
    client = sign_in(alice)
    address = reverse("admin:worlds_world_status", args=[world.id])
    press(client, world, "evaluate", run_id="manual-1")
    running = client.get(address).json()

    evaluate_world(world_id=world.id, run_id="manual-1", act=shell())

    ended = client.get(address).json()
    assert (running["busy"], ended["busy"]) == (True, False)
    assert running["token"] != ended["token"]


def test_apply_is_requested_from_an_evaluation_and_waits(world: World, alice: User, sign_in: SignIn) -> None:
    run = evaluate(world)

    words = text_of(press(sign_in(alice), run, "apply", run_id="by-hand"))

    assert ApplyRun.objects.get().state == RunState.REQUESTED
    assert "What changes: 2 instances" in words
    assert "a different person must approve" in words


def test_rollback_shows_what_it_leads_to_before_it_is_sent(
    world: World, alice: User, bob: User, sign_in: SignIn
) -> None:
    first_apply(world, alice, bob)
    client = sign_in(alice)

    choosing = text_of(open_act(client, world, "rollback"))
    preview = text_of(open_act(client, world, "rollback", to=0))
    sent = press(client, world, "rollback", query="?to=0", run_id="back")

    assert "Choose a generation" in choosing
    assert "An empty set" not in preview
    assert "leaves" in preview
    assert "What trades afterwards" not in choosing
    assert sent.status_code == 200
    assert ApplyRun.objects.get(run_id="back").rollback_to == 0


@pytest.mark.parametrize("wanted", ["1", "99", "-1", "x", "1e3", "9" * 40])
def test_rollback_to_what_is_no_past_generation_offers_the_choice(
    world: World, alice: User, bob: User, sign_in: SignIn, wanted: str
) -> None:
    first_apply(world, alice, bob)

    words = text_of(open_act(sign_in(alice), world, "rollback", to=wanted))

    assert "Choose a generation" in words


def test_archiving_while_something_is_active_is_refused_in_words(
    world: World, alice: User, bob: User, dora: User, sign_in: SignIn
) -> None:
    first_apply(world, alice, bob)

    words = text_of(press(sign_in(dora), world, "archive"))

    assert "still has 2 active instances" in words
    assert World.objects.get().state == World.State.ACTIVE


def test_an_empty_world_is_archived_and_leaves_the_first_page(dora: User, sign_in: SignIn) -> None:
    client, world = sign_in(dora), make_world("gone")

    press(client, world, "archive")

    assert World.objects.get().state == World.State.DELETED
    assert "gone" not in text_of(client.get(reverse("admin:index")))


def test_a_world_is_made_through_its_service(dora: User, sign_in: SignIn) -> None:
    values = {"id": "new-one", "name": "New", "mode": "paper", "reason": "a try"}

    sign_in(dora).post(reverse("admin:worlds_world_add"), values)

    assert World.objects.get().created_by == "person:dora"
    assert AuditEvent.objects.get(chain="new-one", kind="world.created").reason == "a try"


def test_a_world_with_a_bad_id_is_refused_in_words(dora: User, sign_in: SignIn) -> None:
    answer = sign_in(dora).post(reverse("admin:worlds_world_add"), {"id": "Bad Id", "mode": "paper", "reason": "a try"})

    assert "must match" in answer.content.decode()
    assert not World.objects.exists()


def test_unbinding_closes_a_strategy_at_once(world: World, alice: User, bob: User, sign_in: SignIn) -> None:
    first_apply(world, alice, bob)
    instance = world.instances.get(strategy_id="good")

    words = text_of(press(sign_in(alice), instance, "unbind"))

    assert "Withdrawn: of good|long only exits pass." in words
    assert GateHold.objects.get().kind == "withdrawn"


@pytest.mark.parametrize("name", ["evaluate", "unfreeze", "resume", "rollback", "upload", "archive"])
def test_approver_may_not_do_what_operators_do(
    world: World, alice: User, bob: User, sign_in: SignIn, name: str
) -> None:
    first_apply(world, alice, bob)
    events = AuditEvent.objects.count()
    client = sign_in(bob)

    answers = [open_act(client, world, name), press(client, world, name)]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert AuditEvent.objects.count() == events
    assert PolicyVersion.objects.count() == 1


@pytest.mark.parametrize("name", ["freeze", "pause", "evaluate", "rollback", "upload", "archive"])
def test_viewer_may_press_nothing(world: World, sign_in: SignIn, name: str) -> None:
    client = sign_in(person("vera", "viewer"))

    answer = press(client, world, name)

    assert answer.status_code == 403
    assert not GateHold.objects.exists()
    assert f"/act/{name}/" not in client.get(reverse("admin:worlds_world_change", args=[world.id])).content.decode()


def test_operator_of_another_world_finds_nothing(world: World, sign_in: SignIn) -> None:
    other = make_world("other")
    client = sign_in(person("olga", "operator", world=other))

    answers = [
        client.get(reverse("admin:worlds_world_change", args=[world.id])),
        client.get(reverse("admin:worlds_world_status", args=[world.id])),
        press(client, world, "freeze"),
    ]
    listed = text_of(client.get(reverse("admin:worlds_world_changelist")))
    filtered = client.get(reverse("admin:strategies_strategyinstance_changelist"), {"world": world.id})

    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert "other" in listed
    assert reverse("admin:worlds_world_change", args=["w1"]) not in listed
    assert "better" not in text_of(filtered)
    assert not GateHold.objects.exists()


def test_an_act_without_reason_is_not_done(world: World, alice: User, sign_in: SignIn) -> None:
    answer = press(sign_in(alice), world, "freeze", reason=" ")

    assert "This field is required." in text_of(answer)
    assert not GateHold.objects.exists()


def test_an_act_needs_the_token_of_its_page(world: World, alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)

    answer = client.post(reverse("admin:worlds_world_act", args=[world.id, "freeze"]), {"reason": "forged"})

    assert answer.status_code == 403
    assert not GateHold.objects.exists()
