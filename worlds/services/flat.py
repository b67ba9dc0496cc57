"""Acknowledgements of Runners: how far they have heard, and that a position is flat where the policy waits for it.

No position is ever called flat that a Runner has not confirmed: a wait ends by its word, or two people waive it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import OperationalError, transaction

from audit.recorder import record
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import InputInvalidError, PlanStaleError
from qmtl_worlds.contracts.ids import InstanceKey, check_object_id
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.lifecycle.holds import HoldKind
from worlds.models import Alert, GateHold, OutboxEvent, Reopening, RunnerSession, World
from worlds.selectors import get_world, position_of
from worlds.services.alerts import clear_alert, raise_alert
from worlds.services.changes import announce, locked_world
from worlds.services.projection import project_after_commit

OVERDUE = "awaiting_flat_overdue"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What a Runner says: the position it acts by, and which of its instances hold nothing any more.

    ``incarnation`` and ``hold_sequence`` are the world's where they are None.
    """

    client_id: str
    sequence: int
    incarnation: int | None = None
    hold_sequence: int | None = None
    flat: tuple[InstanceKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What came of it: where the world is, which waits are over, and which go on since the Runner is behind them."""

    position: Position
    released: tuple[InstanceKey, ...] = ()
    waiting: tuple[InstanceKey, ...] = ()


@transaction.atomic
def acknowledge(*, world_id: str, said: Acknowledgement, act: Act) -> Acknowledged:
    """Note what a Runner has heard, and end the waits for positions that it says are flat. Twice is once.

    A word from before the switch that started the wait says nothing of the position since: that wait goes on.

    Raises:
        StrategyNotFoundError: the token does not cover one of the instances.
        InputInvalidError: the Runner is ahead of the world.
    """
    act.require("runner.report", world_id)
    check_object_id(said.client_id, field="client_id")
    for key in said.flat:
        act.require("runner.report", world_id, strategy_id=key.strategy_id)
    world = locked_world(world_id) if said.flat else get_world(world_id)
    position = position_of(world)
    heard = _heard(said, position)
    _note(world, said.client_id, heard, act)
    if not said.flat:
        return Acknowledged(position)
    holds = _waits(world, said.flat)
    confirmed = [hold for hold in holds if heard.sequence >= _placed_at_sequence(world, hold)]
    behind = {hold.scope for hold in holds} - {hold.scope for hold in confirmed}
    _release(world, confirmed, kind="gate.flat_acknowledged", act=act)
    return Acknowledged(
        position=position_of(world),
        released=_keys({hold.scope for hold in confirmed} - behind),
        waiting=_keys(behind),
    )


def reopen(*, reopening: Reopening, act: Act) -> None:
    """Waive the wait, which two people answer for; the position is not called flat. The caller holds the lock.

    Raises:
        PlanStaleError: nothing waits any more.
    """
    world = locked_world(reopening.world_id)
    holds = _waits(world, [InstanceKey.from_text(reopening.scope)])
    if not holds:
        raise PlanStaleError("Nothing waits for a flat position any more.", scope=reopening.scope)
    _release(world, holds, kind="gate.flat_waived", act=act)


def watch_flats(*, act: Act) -> None:
    """Tell once of every wait that is past its deadline, and end the alerts of those that are over."""
    deadline = timedelta(seconds=settings.FLAT_DEADLINE_SECONDS)
    late = GateHold.objects.filter(kind=HoldKind.AWAITING_FLAT.value, placed_at__lte=act.now - deadline)
    told = set(Alert.objects.filter(kind=OVERDUE, cleared_at=None).values_list("world_id", "subject"))
    overdue = set(late.values_list("world_id", "scope"))
    for world_id, scope in sorted(overdue ^ told):
        try:
            _tell(world_id, scope, deadline, act)
        except OperationalError as error:  # somebody holds the world's lock
            _log.warning("flat_watch_postponed", world_id=world_id, scope=scope, detail=str(error))


@transaction.atomic
def _tell(world_id: str, scope: str, deadline: timedelta, act: Act) -> None:
    world = locked_world(world_id, alive=False)
    holds = [hold for hold in _waits(world, [InstanceKey.from_text(scope)]) if hold.placed_at <= act.now - deadline]
    if not holds:
        clear_alert(world=world, kind=OVERDUE, subject=scope, act=act)
        return
    since: datetime = min(hold.placed_at for hold in holds)
    facts = {"since": since.isoformat(), "owners": sorted(hold.owner for hold in holds)}
    if raise_alert(world=world, kind=OVERDUE, subject=scope, facts=facts, act=act) is not None:
        record(chain=world.id, kind="gate.flat_overdue", act=act, subject=scope, after=facts)


def _heard(said: Acknowledgement, position: Position) -> Position:
    heard = Position(
        position.incarnation if said.incarnation is None else said.incarnation,
        said.sequence,
        position.hold_sequence if said.hold_sequence is None else said.hold_sequence,
    )
    if heard.incarnation != position.incarnation or heard.sequence > position.sequence:
        raise InputInvalidError(field="sequence", reason=f"is not of this world's present, {position.text}")
    return heard


def _note(world: World, client_id: str, heard: Position, act: Act) -> None:
    """Keep what the client said last; of two words that cross on the way the later position stays."""
    sessions = RunnerSession.objects.select_for_update()
    defaults = {"connection": "poll", "connected_at": act.now, "seen_at": act.now}
    session, _ = sessions.get_or_create(world=world, client_id=client_id, defaults=defaults)
    known = Position(session.incarnation, session.sequence, session.hold_sequence)
    newest = max(known, heard)
    session.token = act.actor.removeprefix("token:")
    session.incarnation, session.sequence = newest.incarnation, newest.sequence
    session.hold_sequence = newest.hold_sequence
    session.seen_at = session.acknowledged_at = act.now
    session.save()


def _waits(world: World, keys: Iterable[InstanceKey]) -> list[GateHold]:
    scopes = [key.text for key in keys]
    return list(GateHold.objects.filter(world=world, kind=HoldKind.AWAITING_FLAT.value, scope__in=scopes))


def _placed_at_sequence(world: World, hold: GateHold) -> int:
    """Return from which sequence on the hold was to be seen; where that is not known, only the present will do.

    Events of one transition are of one time; so may those of the one before be, hence the last of that time counts.
    """
    events = OutboxEvent.objects.filter(world=world).values_list("sequence", flat=True)
    last = events.filter(created_at=hold.placed_at).order_by("-sequence").first()
    first = events.filter(created_at__gt=hold.placed_at).order_by("sequence").first()
    found = first if last is None else last
    return world.sequence if found is None else found


def _release(world: World, holds: Sequence[GateHold], *, kind: str, act: Act) -> None:
    if not holds:
        return
    for hold in holds:
        hold.delete()
        record(chain=world.id, kind=kind, act=act, subject=hold.scope, before={"owner": hold.owner})
    scopes = sorted({hold.scope for hold in holds})
    announce(world, kind="activation_updated", payload={"flat": scopes}, now=act.now)
    for scope in scopes:
        clear_alert(world=world, kind=OVERDUE, subject=scope, act=act)
    project_after_commit(world_id=world.id)


def _keys(scopes: Iterable[str]) -> tuple[InstanceKey, ...]:
    return tuple(InstanceKey.from_text(scope) for scope in sorted(scopes))
