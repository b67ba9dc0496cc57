from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from audit.models import AuditEvent
from tests.admin.conftest import SignIn
from tests.admin.pages import page, press, text_of
from tests.worlds.factories import make_world, person
from tests.worlds.steps import evaluate
from worlds.admin.scoped import page_address
from worlds.models import ApiToken, Membership, World
from worlds.services.tokens import find_token
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db


def test_evaluation_page_names_whom_it_chose_and_explains_everyone(world: World, alice: User, sign_in: SignIn) -> None:
    run, client = evaluate(world), sign_in(alice)
    address = reverse("admin:audit_auditrun_explain", args=[run.pk])

    shown = page(client, run)
    explained = text_of(client.get(address, {"key": "bad|long"}))

    assert "1 better|long promote 30 % Why?" in shown
    assert "greedy, optimal" in shown
    assert "First rule in the way: gates" in explained
    assert "sharpe_30d &gt;= 0.5" in explained
    assert "bad|long is not active: it fails a gate." in explained


@pytest.mark.parametrize("key", ["", "nobody|long", "bad", "bad|short", "\x00", "zzz"])
def test_explaining_whom_the_evaluation_did_not_judge_is_not_found(
    world: World, alice: User, sign_in: SignIn, key: str
) -> None:
    run = evaluate(world)

    answer = sign_in(alice).get(reverse("admin:audit_auditrun_explain", args=[run.pk]), {"key": key})

    assert answer.status_code == 404


def test_audit_of_other_worlds_and_of_the_system_stays_hidden(world: World, sign_in: SignIn) -> None:
    make_world("other")
    client = sign_in(person("olga", "operator", world=world))

    listed = client.get(reverse("admin:audit_auditevent_changelist")).context["cl"].queryset

    assert set(listed.values_list("chain", flat=True)) == {"w1"}


def test_auditor_of_every_world_reads_the_system_too(world: World, bob: User, sign_in: SignIn) -> None:
    listed = sign_in(bob).get(reverse("admin:audit_auditevent_changelist")).context["cl"].queryset

    assert {"w1", "_system"} <= set(listed.values_list("chain", flat=True))


def test_a_token_shows_its_secret_once(dora: User, sign_in: SignIn) -> None:
    client = sign_in(dora)
    values = {"name": "runner 1", "role": "runner", "days": 30, "reason": "first Runner"}

    made = client.post(reverse("admin:worlds_apitoken_add"), values)
    token = ApiToken.objects.get()
    later = page(client, token)

    secret = re.search(r"qw_runner_[0-9a-f_]+", made.content.decode())
    assert secret is not None
    assert find_token(text=secret[0], now=database_now()) == token
    assert "no-store" in made.headers["Cache-Control"]
    assert secret[0] not in later
    assert token.secret_hash not in later


def test_a_token_can_be_made_for_backtests_only(dora: User, sign_in: SignIn) -> None:
    values = {"name": "lab", "role": "submitter", "provenance": "backtest", "days": 30, "reason": "research"}

    sign_in(dora).post(reverse("admin:worlds_apitoken_add"), values)

    assert ApiToken.objects.get().provenance == "backtest"
    assert "backtest" in AuditEvent.objects.get(kind="access.token_created").after_json


def test_a_token_is_revoked_once_and_for_ever(dora: User, sign_in: SignIn) -> None:
    client = sign_in(dora)
    values = {"name": "runner 1", "role": "runner", "days": 30, "reason": "first Runner"}
    client.post(reverse("admin:worlds_apitoken_add"), values)

    press(client, ApiToken.objects.get(), "revoke")

    assert ApiToken.objects.get().revoked_at is not None
    assert AuditEvent.objects.get(kind="access.token_revoked").actor == "person:dora"


def test_a_role_is_granted_and_taken_away_through_services(dora: User, charlie: User, sign_in: SignIn) -> None:
    client, world = sign_in(dora), make_world()
    values = {"user": charlie.pk, "role": "viewer", "world": world.pk, "reason": "new colleague"}

    client.post(reverse("admin:worlds_membership_add"), values)
    held = Membership.objects.get(user=charlie)
    press(client, held, "revoke", reason="left")

    assert (held.role, held.world_id) == ("viewer", "w1")
    assert not Membership.objects.filter(user=charlie).exists()
    kinds = AuditEvent.objects.filter(actor="person:dora").order_by("pk").values_list("kind", flat=True)
    assert list(kinds) == ["access.role_granted", "access.role_revoked"]


def test_a_manager_of_one_world_grants_nothing_elsewhere(charlie: User, sign_in: SignIn) -> None:
    mine, other = make_world("mine"), make_world("other")
    client = sign_in(person("mona", "admin", world=mine))
    address = reverse("admin:worlds_membership_add")

    answers = [
        client.post(address, {"user": charlie.pk, "role": "admin", "world": other.pk, "reason": "x"}),
        client.post(address, {"user": charlie.pk, "role": "admin", "reason": "x"}),
    ]

    assert "Select a valid choice" in text_of(answers[0])
    assert "There is no world" in text_of(answers[1])
    assert not Membership.objects.filter(user=charlie).exists()


@pytest.mark.parametrize("model", ["membership", "apitoken", "world"])
def test_operator_finds_no_form_to_make_them(world: World, alice: User, sign_in: SignIn, model: str) -> None:
    answer = sign_in(alice).get(reverse(f"admin:worlds_{model}_add"))

    assert answer.status_code == 403


@pytest.mark.parametrize(
    "path", ["worlds/world/%00/change/", "worlds/world/nowhere/change/", "audit/auditrun/x/change/"]
)
def test_an_address_of_nothing_is_not_found(world: World, alice: User, sign_in: SignIn, path: str) -> None:
    answer = sign_in(alice).get(f"/admin/{path}")

    assert answer.status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "q=%00",
        "q=" + "x" * 5000,
        "world=%00",
        "world=nowhere",
        "state__exact=%00",
        "kind__exact=%27",
        "requested_at__year=99999999999",
        "requested_at__year=x",
        "o=99",
        "p=-1",
        "p=x",
        "run_id__startswith=%00",
        "plan__x=1",
        "world__policy__text__contains=a",
        "all=%ff",
    ],
)
def test_an_odd_question_to_a_list_is_never_a_fault_of_ours(
    world: World, alice: User, sign_in: SignIn, query: str
) -> None:
    answer = sign_in(alice).get(f"{reverse('admin:worlds_applyrun_changelist')}?{query}")

    assert answer.status_code < 500


def test_everyone_judged_is_searched_and_paged(
    world: World, alice: User, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worlds.admin.evaluation_keys.KEYS_SHOWN", 2)
    run, client = evaluate(world), sign_in(alice)
    address = page_address(run)

    first = client.get(address)
    following = client.get(f"{address}?{first.context['everyone'].following}")
    searched = client.get(address, {"q": "BET"})

    assert first.context["everyone"].keys == ("bad|long", "better|long")
    assert following.context["everyone"].keys == ("good|long",)
    assert following.context["everyone"].following == ""
    assert searched.context["everyone"].keys == ("better|long",)
