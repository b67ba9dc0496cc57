from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.test import Client
from django.urls import reverse

from audit.models import AuditEvent, AuditRun
from tests.admin.conftest import SignIn
from tests.worlds.steps import wait_with_increase
from worlds.admin.menu import MENU
from worlds.models import Approval, World

pytestmark = pytest.mark.django_db

OURS = [model for app in ("worlds", "strategies", "audit") for model in apps.get_app_config(app).get_models()]
BUTTONS = re.compile(r'href="(/admin/[^"]*/act/[^"]*)"')
STARTED_BY_HAND = frozenset({"add"})


def test_every_model_is_registered_and_stands_in_one_group_of_the_menu() -> None:
    registered = {model.__name__ for model in admin.site._registry}  # noqa: SLF001 - the only way to ask
    listed = [name for group in MENU.values() for name in group]

    assert {model.__name__ for model in OURS} <= registered
    assert sorted(listed) == sorted(registered)
    assert len(listed) == len(set(listed))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "changes_allowed"), [("alice", True), ("bob", True)])
def test_every_page_opens_and_looking_changes_nothing(
    world: World, alice: User, bob: User, sign_in: SignIn, name: str, *, changes_allowed: bool
) -> None:
    wait_with_increase(world, alice, bob)
    client = sign_in({"alice": alice, "bob": bob}[name])
    before = (AuditEvent.objects.count(), AuditRun.objects.count(), Approval.objects.count())

    seen = {address: client.get(address).status_code for address in walk(client)}

    assert {address: status for address, status in seen.items() if status != 200} == {}
    assert any("/act/" in address for address in seen) is changes_allowed
    assert len(seen) > 60
    assert (AuditEvent.objects.count(), AuditRun.objects.count(), Approval.objects.count()) == before


def test_nobody_without_a_role_comes_in(charlie: User, world: World, sign_in: SignIn) -> None:
    client = sign_in(charlie)

    answers = [client.get(reverse("admin:index")), client.get(reverse("admin:worlds_world_change", args=[world.id]))]

    assert [answer.status_code for answer in answers] == [302, 302]
    assert all(answer.headers["Location"].startswith(reverse("admin:login")) for answer in answers)


def test_signing_in_without_a_role_says_what_to_do(charlie: User) -> None:
    answer = Client().post(reverse("admin:login"), {"username": "charlie", "password": "charlie"})

    assert "You have no role in any world yet" in answer.content.decode()


def test_a_superuser_without_roles_manages_accounts_and_sees_no_world(world: World, admin_client: Client) -> None:
    home = admin_client.get(reverse("admin:index")).content.decode()
    page = admin_client.get(reverse("admin:worlds_world_change", args=[world.id]))
    people = admin_client.get(reverse("admin:auth_user_changelist"))

    assert reverse("admin:worlds_world_change", args=[world.id]) not in home
    assert page.status_code == 404
    assert people.status_code == 200


def walk(client: Client) -> Iterator[str]:
    """Yield every list, every row's page, and every button and explanation that these pages link to."""
    for model in OURS:
        names = f"admin:{model._meta.app_label}_{model._meta.model_name}"  # noqa: SLF001 - Django's documented way
        if not admin.site.get_model_admin(model).has_view_permission(request_of(client)):
            continue
        yield reverse(f"{names}_changelist")
        for row in model._default_manager.all()[:3]:  # noqa: SLF001 - as above
            address = reverse(f"{names}_change", args=[row.pk])
            yield address
            yield from sorted(set(BUTTONS.findall(client.get(address).content.decode())))


def request_of(client: Client) -> HttpRequest:
    return client.get(reverse("admin:index")).wsgi_request
