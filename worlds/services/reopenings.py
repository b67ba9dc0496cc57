"""Grant or reject what was asked to be opened again; every subject goes through this one door."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Protocol

from django.db import transaction

from audit.recorder import record
from qmtl_worlds.contracts.acts import READ, Act
from qmtl_worlds.contracts.errors import ApprovalNeedsSessionError, ConflictError, NotFoundError, PermissionDeniedError
from qmtl_worlds.lifecycle.approval import check_approver
from worlds.models import Reopening, World
from worlds.services import circuits, flat, kills, overrides
from worlds.services.changes import locked_world
from worlds.services.reauthentication import is_recent
from worlds.services.reopening_requests import RULES, Asked, close_request, request_reopening, takes_two


class Reopen(Protocol):
    """Does what was granted, under the world's lock and in the grant's transaction, and records it."""

    def __call__(self, *, reopening: Reopening, act: Act) -> None:
        """Open what ``reopening`` names, or refuse by raising: then nothing is granted."""
        ...


GRANTS: Final[Mapping[Reopening.Subject, Reopen]] = {
    Reopening.Subject.KILL: kills.reopen,
    Reopening.Subject.CIRCUIT: circuits.reopen,
    Reopening.Subject.OVERRIDE: overrides.reopen,
    Reopening.Subject.AWAITING_FLAT: flat.reopen,
}
"""What a grant does, by subject."""


def ask(*, asked: Asked, reauthenticated_at: datetime | None, act: Act) -> Reopening:
    """Ask, and grant at once where that takes one person only, who has the right and has just entered the password."""
    reopening = request_reopening(asked=asked, act=act)
    alone = not reopening.second_person and act.grants.allows(RULES[asked.subject].grant, asked.world_id)
    if not (alone and act.person and is_recent(reauthenticated_at, now=act.now)):
        return reopening
    return grant(world_id=asked.world_id, reopening_id=reopening.pk, reauthenticated_at=reauthenticated_at, act=act)


@transaction.atomic
def grant(*, world_id: str, reopening_id: int, reauthenticated_at: datetime | None, act: Act) -> Reopening:
    """Grant a request: what it names is opened in this transaction, or nothing happens.

    Raises:
        NotFoundError: the world has no such request.
        ConflictError: it was decided already.
        SelfApprovalError: it takes a second person, and this is who asked.
        ApprovalNeedsSessionError: it is no person, or the password was not entered recently.
        PlanStaleError: what was to be opened has changed since.
    """
    world, reopening = _open_request(world_id, reopening_id, act, wanted="granted")
    if not act.person:
        raise ApprovalNeedsSessionError
    second = reopening.second_person or takes_two(reopening.subject, world)
    others = [reopening.requester_person] if second else []
    check_approver(act.person, others=others, reauthenticated_at=reauthenticated_at, now=act.now)
    close_request(reopening=reopening, state=Reopening.State.GRANTED, act=act)
    GRANTS[Reopening.Subject(reopening.subject)](reopening=reopening, act=act)
    return reopening


@transaction.atomic
def reject(*, world_id: str, reopening_id: int, act: Act) -> Reopening:
    """Refuse a request; what it names stays closed. Whoever may grant may reject, and whoever asked may take it back.

    Raises:
        NotFoundError: the world has no such request.
        ConflictError: it was decided already.
    """
    world, reopening = _open_request(world_id, reopening_id, act, wanted="rejected")
    close_request(reopening=reopening, state=Reopening.State.REJECTED, act=act)
    kind = RULES[Reopening.Subject(reopening.subject)].rejected
    record(chain=world.id, kind=kind, act=act, subject=reopening.scope or world.id, after={"reopening": reopening.pk})
    return reopening


def _open_request(world_id: str, reopening_id: int, act: Act, *, wanted: str) -> tuple[World, Reopening]:
    act.require(READ, world_id)
    if not any(act.grants.allows(one, world_id) for rule in RULES.values() for one in (rule.ask, rule.grant)):
        raise PermissionDeniedError(act.actor, permission="gate.reopen")
    world = locked_world(world_id)
    reopening = Reopening.objects.filter(world=world, pk=reopening_id).first()
    if reopening is None:
        raise NotFoundError(f"World {world_id!r} has no request {reopening_id}.", world_id=world_id, id=reopening_id)
    own = wanted == "rejected" and act.actor == reopening.requested_by
    if not own:
        act.require(RULES[Reopening.Subject(reopening.subject)].grant, world_id)
    if reopening.state != Reopening.State.REQUESTED:
        told = f"Request {reopening_id} is {reopening.state}: it cannot be {wanted}."
        raise ConflictError(told, id=reopening_id, state=reopening.state, wanted=wanted)
    return world, reopening
