"""Who is looking: what a request's person may do, by the same roles that the services check."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from weakref import WeakKeyDictionary

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from qmtl_worlds.contracts.acts import ANY_WORLD, READ, Act, Grants
from worlds.middleware import request_id_of
from worlds.models import Membership, World
from worlds.services.authority import act_of_person, grants_of_person, roles

_GRANTS: Final[WeakKeyDictionary[HttpRequest, Grants]] = WeakKeyDictionary()


def grants_of(request: HttpRequest) -> Grants:
    """Return what the signed-in person may do; read once a request."""
    if request not in _GRANTS:
        _GRANTS[request] = grants_of_person(request.user) if isinstance(request.user, User) else Grants()
    return _GRANTS[request]


def act_of(request: HttpRequest, *, reason: str) -> Act:
    """Return an act of the signed-in person; its request id is the one of the answer's header."""
    return act_of_person(user_of(request), reason=reason, request_id=request_id_of(request.META))


def user_of(request: HttpRequest) -> User:
    """Return who is signed in.

    Raises:
        PermissionError: nobody is; the site lets nobody in without signing in.
    """
    if isinstance(request.user, AnonymousUser):
        raise PermissionError("nobody is signed in")
    return request.user


def worlds_where(request: HttpRequest, permission: str = READ) -> frozenset[str] | None:
    """Return in which worlds the person has ``permission``; None for every world."""
    grants = grants_of(request)
    if permission in grants.by_world.get(ANY_WORLD, ()):
        return None
    return frozenset(world for world, permissions in grants.by_world.items() if permission in permissions)


def has_anywhere(request: HttpRequest, permission: str) -> bool:
    """Tell whether the person has ``permission`` in any world at all."""
    return any(permission in permissions for permissions in grants_of(request).by_world.values())


def readable_worlds(request: HttpRequest, permission: str = READ) -> QuerySet[World]:
    """Return the worlds in which the person has ``permission``, by id."""
    worlds, allowed = World.objects.order_by("id"), worlds_where(request, permission)
    return worlds if allowed is None else worlds.filter(id__in=allowed)


def roles_in(user: User, world_id: str) -> tuple[str, ...]:
    """Return the person's roles in one world, those held everywhere included, by name."""
    held = Membership.objects.filter(Q(world=None) | Q(world_id=world_id), user=user)
    return tuple(sorted(set(held.values_list("role", flat=True))))


def people_with(permission: str, world_id: str, *, without: Iterable[str]) -> tuple[str, ...]:
    """Return who could do something in a world, by user name, leaving out the persons (e-mails) ``without``."""
    able = [role for role, permissions in roles().people.items() if permission in permissions]
    held = Membership.objects.filter(Q(world=None) | Q(world_id=world_id), role__in=able, user__is_active=True)
    barred = {person.strip().casefold() for person in without}
    rows = held.values_list("user__username", "user__email")
    return tuple(sorted({name for name, email in rows if email and email.strip().casefold() not in barred}))
