from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client

from audit.models import AuditEvent
from qmtl_worlds.contracts.states import RunState
from tests.admin.conftest import SignIn
from tests.admin.pages import open_act, page, press, text_of
from tests.worlds.factories import person, shell
from tests.worlds.steps import approve_now, evaluate, go_on, start, wait_with_increase
from worlds.models import ApplyRun, Approval, World
from worlds.services.members import revoke_role
from worlds.services.reauthentication import SESSION_KEY, is_recent, reauthenticated_at
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db

DASH = "\N{EN DASH}"


@pytest.fixture
def run(world: World, alice: User, bob: User) -> ApplyRun:
    """A run that waits: best comes in for good."""
    return wait_with_increase(world, alice, bob)


def grow_old(client: Client, **age: float) -> None:
    """Let the password have been entered some time ago."""
    session = client.session
    session[SESSION_KEY] = (database_now() - timedelta(**age)).isoformat()
    session.save()


def test_run_page_shows_the_plan_and_who_can_approve(run: ApplyRun, alice: User, sign_in: SignIn) -> None:
    words = page(sign_in(alice), run)

    assert f"best long comes in {DASH} 30 % selected by the policy" in words
    assert f"good long leaves 30 % {DASH} better ranked strategies took its place" in words
    assert "long 60 % 60 % 2 2" in words
    assert "a different person must approve it. Who can: bob ." in words
    assert "Withdraw the request" in words
    assert "/act/approve/" not in words


def test_second_person_approves_what_was_shown(run: ApplyRun, bob: User, sign_in: SignIn) -> None:
    words = text_of(press(sign_in(bob), run, "approve", reason="looked at it"))

    approval = Approval.objects.get(run=run)
    assert (approval.approver, approval.person, approval.reason) == ("person:bob", "bob@example.org", "looked at it")
    assert approval.plan_hash == run.plan_hash
    assert "Approved: it goes on now." in words


def test_approved_run_is_followed_to_its_end(run: ApplyRun, bob: User, sign_in: SignIn) -> None:
    client = sign_in(bob)

    queued = text_of(press(client, run, "approve"))
    go_on(run.world, run.run_id)
    draining = page(client, run)

    assert "queued Approved; about to freeze the world." in queued
    assert "draining Waiting until no old permission can still be in use: only exits pass." in draining
    assert "Under way for" in draining
    assert "Abort" in draining


def test_approval_of_another_plan_than_the_present_one_is_refused(run: ApplyRun, bob: User, sign_in: SignIn) -> None:
    words = text_of(press(sign_in(bob), run, "approve", plan_hash="sha256:" + "0" * 64))

    assert "The plan changed after you opened it; look at it again." in words
    assert not Approval.objects.filter(run=run).exists()


def test_approval_asks_for_the_password_after_five_minutes(run: ApplyRun, bob: User, sign_in: SignIn) -> None:
    client = sign_in(bob)
    grow_old(client, minutes=6)

    asked = text_of(open_act(client, run, "approve"))
    without = text_of(press(client, run, "approve"))
    wrong = text_of(press(client, run, "approve", password="guess"))
    right = text_of(press(client, run, "approve", password="bob"))

    assert "Your password" in asked
    assert "This field is required." in without
    assert "That is not your password." in wrong
    assert "Approved: it goes on now." in right
    assert is_recent(reauthenticated_at(client.session), now=database_now())


def test_wrong_password_leaves_the_session_as_it_was(run: ApplyRun, bob: User, sign_in: SignIn) -> None:
    client = sign_in(bob)
    grow_old(client, minutes=6)
    before = client.session[SESSION_KEY]

    press(client, run, "approve", password="alice")

    assert client.session[SESSION_KEY] == before
    assert not Approval.objects.filter(run=run).exists()


@pytest.mark.parametrize("stored", [None, 5, "yesterday", "2026-11-22T10:00:00", "2999-01-01T00:00:00+00:00"])
def test_unreadable_or_future_stamp_counts_as_no_password(
    run: ApplyRun, bob: User, sign_in: SignIn, stored: object
) -> None:
    client = sign_in(bob)
    session = client.session
    session[SESSION_KEY] = stored
    session.save()

    words = text_of(open_act(client, run, "approve"))

    assert "Your password" in words


def test_requester_cannot_approve_even_with_the_role(world: World, sign_in: SignIn) -> None:
    carol = person("carol", "operator", "approver")
    evaluate(world)
    run = start(world, carol)

    words = text_of(press(sign_in(carol), run, "approve"))

    assert "a different person must approve" in words
    assert not Approval.objects.exists()


def test_operator_may_not_approve_or_reject(run: ApplyRun, alice: User, sign_in: SignIn) -> None:
    client = sign_in(alice)

    answers = [press(client, run, name) for name in ("approve", "reject", "resume")]

    assert [answer.status_code for answer in answers] == [403, 403, 403]
    run.refresh_from_db()
    assert run.state == RunState.REQUESTED


def test_role_that_was_taken_away_no_longer_approves(run: ApplyRun, bob: User, sign_in: SignIn) -> None:
    client = sign_in(bob)
    revoke_role(membership=bob.memberships.get(role="approver"), act=shell())

    answer = press(client, run, "approve")

    assert answer.status_code == 403


def test_reject_ends_the_run_with_its_reason(run: ApplyRun, bob: User, sign_in: SignIn) -> None:
    words = text_of(press(sign_in(bob), run, "reject", reason="too early"))

    run.refresh_from_db()
    assert (run.state, run.state_reason) == (RunState.CANCELLED, "rejected")
    assert AuditEvent.objects.get(kind="apply.rejected").reason == "too early"
    assert "Rejected: nothing of it happens." in words


def test_requester_withdraws_the_request(run: ApplyRun, alice: User, sign_in: SignIn) -> None:
    press(sign_in(alice), run, "withdraw")

    run.refresh_from_db()
    assert run.state == RunState.CANCELLED


def test_abort_takes_a_run_back_while_it_drains(run: ApplyRun, alice: User, bob: User, sign_in: SignIn) -> None:
    approve_now(run.world, run, bob)
    go_on(run.world, run.run_id)

    press(sign_in(alice), run, "abort")

    run.refresh_from_db()
    assert run.state == RunState.ROLLED_BACK


def test_held_run_is_resumed_by_an_approver(run: ApplyRun, alice: User, bob: User, sign_in: SignIn) -> None:
    approve_now(run.world, run, bob)
    go_on(run.world, run.run_id)
    ApplyRun.objects.filter(pk=run.pk).update(state=RunState.HELD)

    press(sign_in(bob), run, "resume")

    run.refresh_from_db()
    assert run.state == RunState.FREEZING


def test_deciding_twice_is_refused_in_words(run: ApplyRun, bob: User, sign_in: SignIn) -> None:
    client = sign_in(bob)
    press(client, run, "reject")

    words = text_of(press(client, run, "reject"))

    assert "it cannot be rejected" in words


def test_first_page_tells_each_person_what_is_theirs(run: ApplyRun, alice: User, bob: User, sign_in: SignIn) -> None:
    for_bob = text_of(sign_in(bob).get("/admin/"))
    for_alice = text_of(sign_in(alice).get("/admin/"))

    assert "Apply run-2 in w1 asked by alice" in for_bob
    assert "Look and decide" in for_bob
    assert "for somebody else to decide" in for_alice
