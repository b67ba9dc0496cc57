from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from audit.models import AuditEvent
from qmtl_worlds.contracts.errors import InputInvalidError, PermissionDeniedError, WorldNotFoundError
from tests.worlds.factories import act_of, make_world, person, shell
from worlds.models import Membership, World
from worlds.services.authority import act_of_person, grants_of_person
from worlds.services.holds import freeze
from worlds.services.members import grant_role, revoke_role

pytestmark = pytest.mark.django_db


@pytest.fixture
def bare() -> World:
    return make_world()


def test_role_is_granted_once_and_told_once(bare: World, alice: User) -> None:
    first = grant_role(user=alice, role="viewer", world=bare, act=shell())

    again = grant_role(user=alice, role="viewer", world=bare, act=shell())

    assert again == first
    assert AuditEvent.objects.filter(kind="access.role_granted", after_json__contains="viewer").count() == 1


def test_role_in_one_world_is_none_in_another(bare: World) -> None:
    make_world("w2")
    dave = person("dave", "operator", world=bare)

    freeze(world_id="w1", act=act_of(dave))

    with pytest.raises(WorldNotFoundError):
        freeze(world_id="w2", act=act_of(dave))


def test_role_that_is_none_is_refused(bare: World, alice: User) -> None:
    for role in ("runner", "superuser", ""):
        with pytest.raises(InputInvalidError):
            grant_role(user=alice, role=role, world=None, act=shell())


def test_revoked_role_gives_nothing_any_more(bare: World) -> None:
    dave = person("dave", "operator", world=bare)

    revoke_role(membership=Membership.objects.get(user=dave), act=shell())

    with pytest.raises(WorldNotFoundError):
        freeze(world_id="w1", act=act_of(dave))
    assert AuditEvent.objects.filter(kind="access.role_revoked", subject="dave").exists()


def test_operator_cannot_grant_roles_not_even_to_others(bare: World, alice: User, bob: User) -> None:
    with pytest.raises(PermissionDeniedError):
        grant_role(user=bob, role="operator", world=bare, act=act_of(alice))


def test_admin_of_one_world_cannot_grant_a_role_everywhere(bare: World, bob: User) -> None:
    dave = person("dave", "admin", world=bare)

    grant_role(user=bob, role="viewer", world=bare, act=act_of(dave))

    with pytest.raises((PermissionDeniedError, WorldNotFoundError)):
        grant_role(user=bob, role="viewer", world=None, act=act_of(dave))


def test_superuser_has_no_more_than_the_roles_give(bare: World) -> None:
    root = User.objects.create_superuser("root", email="root@example.org", password="root")

    with pytest.raises(WorldNotFoundError):
        freeze(world_id="w1", act=act_of_person(root, reason="test"))


def test_inactive_account_has_nothing(bare: World, alice: User) -> None:
    alice.is_active = False

    assert not grants_of_person(alice).allows("world.read", "w1")
