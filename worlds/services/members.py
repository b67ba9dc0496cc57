"""Which people hold which roles, in which worlds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction

from audit.chain import SYSTEM_CHAIN
from audit.recorder import record
from qmtl_worlds.contracts.acts import ANY_WORLD, Act
from qmtl_worlds.contracts.errors import InputInvalidError
from worlds.models import Membership, World
from worlds.services.authority import roles

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@transaction.atomic
def grant_role(*, user: User, role: str, world: World | None, act: Act) -> Membership:
    """Give a person a role in a world, or everywhere; what the person has already stays.

    Raises:
        InputInvalidError: there is no such role for people.
    """
    act.require("members.manage", world.id if world else ANY_WORLD)
    if role not in roles().people:
        raise InputInvalidError(field="role", reason=f"must be one of {', '.join(sorted(roles().people))}")
    membership, made = Membership.objects.get_or_create(user=user, world=world, role=role)
    if made:
        record(
            chain=SYSTEM_CHAIN,
            kind="access.role_granted",
            act=act,
            subject=user.get_username(),
            after=_facts(membership),
        )
    return membership


@transaction.atomic
def revoke_role(*, membership: Membership, act: Act) -> None:
    """Take a role away; approvals that rest on it no longer count."""
    act.require("members.manage", membership.world_id or ANY_WORLD)
    subject, before = membership.user.get_username(), _facts(membership)
    membership.delete()
    record(chain=SYSTEM_CHAIN, kind="access.role_revoked", act=act, subject=subject, before=before)


def _facts(membership: Membership) -> dict[str, object]:
    return {"role": membership.role, "world": membership.world_id or ANY_WORLD}
