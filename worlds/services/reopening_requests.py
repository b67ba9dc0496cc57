"""Ask that something closed be opened again: a kill, a circuit, an override, a wait for a flat position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from django.db import transaction

from audit.recorder import record
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.states import WorldMode
from qmtl_worlds.lifecycle.holds import HoldKind, needs_second_person
from worlds.models import Reopening, World
from worlds.services.changes import locked_world


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may ask and who may grant, by permission, and the audit kinds of asking and refusing.

    What a grant does is recorded by whoever does it.
    """

    ask: str
    grant: str
    asked: str
    rejected: str


RULES: Final = {
    Reopening.Subject.KILL: Rule(
        "gate.reopen", "gate.lift_kill", "gate.kill_lift_requested", "gate.kill_lift_rejected"
    ),
    Reopening.Subject.CIRCUIT: Rule(
        "gate.reopen", "circuit.reset", "circuit.reset_requested", "circuit.reset_rejected"
    ),
    Reopening.Subject.OVERRIDE: Rule("override.request", "apply.approve", "override.requested", "override.rejected"),
    Reopening.Subject.AWAITING_FLAT: Rule(
        "override.request", "apply.approve", "gate.flat_waiver_requested", "gate.flat_waiver_rejected"
    ),
}

_BY_MODE: Final = {Reopening.Subject.KILL: HoldKind.KILL, Reopening.Subject.CIRCUIT: HoldKind.CIRCUIT}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be reopened; ``scope`` is an instance key, empty for the world, ``parameters`` the subject's own."""

    world_id: str
    subject: Reopening.Subject
    scope: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)


def list_reopenings(world_id: str, *, limit: int = 100) -> tuple[Reopening, ...]:
    """Return the last requests of a world, newest first."""
    return tuple(Reopening.objects.filter(world_id=world_id)[:limit])


@transaction.atomic
def request_reopening(*, asked: Asked, act: Act) -> Reopening:
    """Ask for it; the same again is the same request, another one for the same scope supersedes the older.

    Raises:
        PermissionDeniedError: the actor may not ask for this.
    """
    rule = RULES[asked.subject]
    act.require(rule.ask, asked.world_id)
    world = locked_world(asked.world_id)
    same_scope = Reopening.objects.filter(world=world, subject=asked.subject, scope=asked.scope)
    older = same_scope.filter(state=Reopening.State.REQUESTED).first()
    if older is not None and older.parameters == dict(asked.parameters):
        return older
    if older is not None:
        close_request(reopening=older, state=Reopening.State.SUPERSEDED, act=act)
    made = Reopening.objects.create(
        world=world,
        subject=asked.subject,
        scope=asked.scope,
        parameters=dict(asked.parameters),
        second_person=takes_two(asked.subject, world),
        requested_by=act.actor,
        requester_person=act.person,
        reason=act.reason,
        requested_at=act.now,
    )
    facts = {"reopening": made.pk, "parameters": made.parameters, "second_person": made.second_person}
    record(chain=world.id, kind=rule.asked, act=act, subject=asked.scope or world.id, after=facts)
    return made


def close_request(*, reopening: Reopening, state: Reopening.State, act: Act) -> None:
    """Store how the request ended, and on whose word."""
    reopening.state = state
    reopening.decided_by, reopening.decider_person, reopening.decided_at = act.actor, act.person, act.now
    reopening.save(update_fields=["state", "decided_by", "decider_person", "decided_at"])


def takes_two(subject: str, world: World) -> bool:
    """Tell whether another person than the one who asks must grant it: always, but for circuits and kills on paper."""
    kind = _BY_MODE.get(Reopening.Subject(subject))
    return kind is None or needs_second_person(kind, WorldMode(world.mode))
