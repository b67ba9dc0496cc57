"""Who may do what: roles from ``config/roles.yml``, held by people per world and by tokens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from django.conf import settings

from qmtl_worlds.contracts.acts import ANY_WORLD, Act, Grants
from worlds.models import ApiToken, Membership
from worlds.stores.clock import database_now

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@dataclass(frozen=True, slots=True)
class Roles:
    """The matrix: permissions by role, for people and for machines."""

    people: Mapping[str, frozenset[str]]
    machines: Mapping[str, frozenset[str]]


@lru_cache(maxsize=1)
def roles() -> Roles:
    """Return the matrix of ``config/roles.yml``, read once a process."""
    tree = yaml.safe_load((Path(settings.BASE_DIR) / "config" / "roles.yml").read_text(encoding="utf-8"))
    return Roles(
        people={name: frozenset(permissions) for name, permissions in tree["people"].items()},
        machines={name: frozenset(permissions) for name, permissions in tree["machines"].items()},
    )


def grants_of_person(user: User) -> Grants:
    """Return what the person's memberships give, per world; being a superuser gives nothing."""
    if not user.is_active:
        return Grants()
    rows = Membership.objects.filter(user=user).order_by()
    return _grants(rows.values_list("world_id", "role"))


def grants_of_accounts(names: Iterable[str]) -> dict[str, Grants]:
    """Return what memberships give to each of these accounts that is active; who has none is not in it."""
    rows = Membership.objects.filter(user__username__in=set(names), user__is_active=True).order_by()
    held: dict[str, list[tuple[str | None, str]]] = defaultdict(list)
    for name, world_id, role in rows.values_list("user__username", "world_id", "role"):
        held[name].append((world_id, role))
    return {name: _grants(memberships) for name, memberships in held.items()}


def grants_of_token(token: ApiToken) -> Grants:
    """Return what the token's role gives in its worlds, or in all where it names none."""
    permissions = roles().machines.get(token.role, frozenset())
    worlds = [world.id for world in token.worlds.all()] or [ANY_WORLD]
    strategies = frozenset(token.strategies) if token.strategies else None
    return Grants(dict.fromkeys(worlds, permissions), strategies)


def person_of(user: User) -> str:
    """Return what makes two accounts one person: the e-mail, folded; empty where there is none."""
    return user.email.strip().casefold()


def act_of_person(user: User, *, reason: str, request_id: str = "") -> Act:
    """Return an act of a signed-in person, now."""
    return Act(
        actor=f"person:{user.get_username()}",
        reason=reason,
        now=database_now(),
        request_id=request_id,
        person=person_of(user),
        grants=grants_of_person(user),
    )


def act_of_token(token: ApiToken, *, reason: str, request_id: str = "") -> Act:
    """Return an act of a machine, now."""
    return Act(
        actor=f"token:{token.id}",
        reason=reason,
        now=database_now(),
        request_id=request_id,
        grants=grants_of_token(token),
    )


def act_of_schedule(*, reason: str) -> Act:
    """Return an act of the schedule, now: it evaluates and requests what the policy's envelope allows."""
    permissions = frozenset({"world.read", "evaluation.run", "apply.request", "gate.close"})
    return Act(actor="schedule", reason=reason, now=database_now(), grants=Grants({ANY_WORLD: permissions}))


def act_of_system(*, reason: str) -> Act:
    """Return an act of the system itself (tick, reconcile, start-up), now; it may only close and continue."""
    permissions = frozenset({"world.read", "gate.close"})
    return Act(actor="system", reason=reason, now=database_now(), grants=Grants({ANY_WORLD: permissions}))


def act_of_shell(*, reason: str) -> Act:
    """Return an act of whoever can run management commands: that person holds the database anyway."""
    everything = frozenset().union(*roles().people.values(), *roles().machines.values())
    approving = frozenset({"policy.approve", "apply.approve"})
    return Act(actor="shell", reason=reason, now=database_now(), grants=Grants({ANY_WORLD: everything - approving}))


def _grants(memberships: Iterable[tuple[str | None, str]]) -> Grants:
    by_world: dict[str, set[str]] = defaultdict(set)
    for world_id, role in memberships:
        by_world[world_id or ANY_WORLD] |= roles().people.get(role, frozenset())
    return Grants({world: frozenset(permissions) for world, permissions in by_world.items()})
