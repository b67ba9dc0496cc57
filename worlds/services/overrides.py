"""What an operator lays over one instance of the applied set: inactive, capped, or exits only, until it ends.

No apply, rollback or evaluation ever undoes it. To take away is one person's act and immediate; to give back takes a
second one, and never gives more than the applied set.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from django.db import OperationalError, transaction

from audit.recorder import record
from qmtl_worlds.contracts.acts import READ, Act
from qmtl_worlds.contracts.errors import (
    EtagMismatchError,
    InputInvalidError,
    PlanStaleError,
    StrategyNotFoundError,
)
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.lease import find_position
from qmtl_worlds.lifecycle.holds import HoldKind
from qmtl_worlds.lifecycle.override import NO_CAP, Ending, Override, ending, loosens
from strategies.models import StrategyInstance
from worlds.models import GateHold, Reopening, World
from worlds.models import Override as OverrideRow
from worlds.selectors import find_override, members_of, position_of
from worlds.services.changes import locked_world
from worlds.services.override_rows import keep_closed, layer_of, lift_override, put_override
from worlds.services.reopening_requests import Asked, close_request, request_reopening
from worlds.services.step_facts import newest_ok_run

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OverrideRequest:
    """What somebody wants of one instance.

    ``active`` false takes it out of the set; ``weight`` caps it (None: no cap). ``freeze`` and ``drain`` let exits only
    through (None: as it is now). Without ``expires_at`` it lasts until somebody ends it. ``if_match`` says what the
    caller has seen.
    """

    key: InstanceKey
    active: bool
    weight: float | None = None
    freeze: bool | None = None
    drain: bool | None = None
    expires_at: datetime | None = None
    if_match: str | None = None


@dataclass(frozen=True, slots=True)
class Overridden:
    """What lies over the instance now, and the request that waits for a second person, where the act needs one."""

    override: OverrideRow | None
    waits: Reopening | None = None


@transaction.atomic
def set_override(*, world_id: str, request: OverrideRequest, act: Act) -> Overridden:
    """Lay this over the instance at once, or ask for it where it would loosen what lies there. Twice is once.

    Asking that an instance be active whose Runner has yet to confirm a flat position asks that this be waived.

    Raises:
        InputInvalidError: weight, times and ``active`` contradict each other, or the instance would be active, or weigh
            more, than the applied set lets it, which takes a plan.
        StrategyNotFoundError: nothing of that name is bound or active.
        EtagMismatchError: ``if_match`` is older than the world.
        PermissionDeniedError: the actor may not close, or not ask to reopen.
    """
    key = request.key
    act.require(READ, world_id, strategy_id=key.strategy_id)
    if not act.grants.allows("override.request", world_id):
        _require_lowering(act, world_id, key)
    world = locked_world(world_id)
    if request.if_match is not None and find_position(request.if_match) != position_of(world):
        raise EtagMismatchError(expected=request.if_match, current=position_of(world).text)
    row = find_override(world.id, key.text)
    present = layer_of(row) if row else None
    wanted = _wanted(request, present, act.now)
    _check_within_set(world, request, present)
    if loosens(wanted, present):
        parameters = {**_to_json(wanted), "over": _stamp(row)}
        asked = Asked(world.id, Reopening.Subject.OVERRIDE, key.text, parameters)
        return Overridden(row, request_reopening(asked=asked, act=act))
    if present is None and not wanted.takes_away:
        return Overridden(None, _waiver(world, key, act))
    if wanted == present and row is not None:
        return Overridden(row)
    _require_lowering(act, world_id, key)
    _supersede_requests(world, key, act)
    return Overridden(put_override(world=world, override=wanted, kind="override.set", act=act))


def reopen(*, reopening: Reopening, act: Act) -> None:
    """Do what was asked for and granted; the caller holds the world's lock.

    Raises:
        PlanStaleError: another override lies over the instance by now.
    """
    world = locked_world(reopening.world_id)
    row = find_override(world.id, reopening.scope)
    if row is None or _stamp(row) != reopening.parameters["over"]:
        raise PlanStaleError("The override changed after this was asked for; ask again.", scope=reopening.scope)
    wanted = _from_json(InstanceKey.from_text(reopening.scope), reopening.parameters)
    record(
        chain=world.id,
        kind="override.approved",
        act=act,
        subject=reopening.scope,
        before=_to_json(layer_of(row)),
        after={**_to_json(wanted), "reopening": reopening.pk, "requested_by": reopening.requested_by},
    )
    if wanted.takes_away:
        put_override(world=world, override=wanted, kind="override.set", act=act)
    else:
        lift_override(world=world, row=row, kind="override.lifted", act=act)


def expire_overrides(*, act: Act) -> None:
    """End every override whose time is over, by the database's clock; one that cannot be ended now is left for later.

    What ends reopens only where the newest evaluation selected the instance; else it stays closed, and somebody is
    told.
    """
    due = OverrideRow.objects.filter(expires_at__lte=act.now)
    for world_id, scope in list(due.values_list("world_id", "scope")):
        try:
            _expire(world_id, scope, act)
        except OperationalError as error:  # somebody holds the world's lock
            _log.warning("override_postponed", world_id=world_id, scope=scope, detail=str(error))


@transaction.atomic
def _expire(world_id: str, scope: str, act: Act) -> None:
    world = locked_world(world_id, alive=False)
    row = find_override(world_id, scope)
    if row is None:
        return
    match ending(layer_of(row), now=act.now, selected=_is_selected(world_id, scope)):
        case Ending.LASTS:
            return
        case Ending.REOPENS:
            lift_override(world=world, row=row, kind="override.expired", act=act)
        case Ending.STAYS_CLOSED:
            keep_closed(world=world, row=row, act=act)


def _is_selected(world_id: str, scope: str) -> bool | None:
    """Tell whether the instance is in the newest ok Final set, None where there is none."""
    newest = newest_ok_run(world_id)
    return None if newest is None else scope in json.loads(newest.decision_bytes())["weights"]


def _require_lowering(act: Act, world_id: str, key: InstanceKey) -> None:
    """Who may close gates may take away; a Runner may so for the strategies that its token names."""
    named = act.grants.strategies is not None and not act.grants.allows("gate.close", world_id)
    act.require("gate.close_own" if named else "gate.close", world_id, strategy_id=key.strategy_id)


def _wanted(request: OverrideRequest, present: Override | None, now: datetime) -> Override:
    """Return the layer that is asked for; what the request leaves open stays as it is."""
    before = present or Override(request.key)
    if request.expires_at is not None and request.expires_at <= now:
        raise InputInvalidError(field="expires_at", reason="must lie in the future")
    weight = request.weight
    if weight is not None and not 0 <= weight <= 1:
        raise InputInvalidError(field="weight", reason="must be in [0, 1]")
    if weight is not None and request.active is not (weight > 0):
        raise InputInvalidError(field="weight", reason="must be over 0 where active is true, and 0 or absent else")
    cap = (NO_CAP if weight is None else weight) if request.active else 0.0
    freeze = before.freeze if request.freeze is None else request.freeze
    drain = before.drain if request.drain is None else request.drain
    return Override(request.key, cap, freeze=freeze, drain=drain, expires_at=request.expires_at)


def _check_within_set(world: World, request: OverrideRequest, present: Override | None) -> None:
    """Refuse what no layer can give; an instance that a layer keeps out may be asked back."""
    key = request.key
    member = members_of(world.id, world.generation).get(key)
    if member is None and not _is_bound(world, key):
        raise StrategyNotFoundError(world.id, key.strategy_id, key.side)
    if not request.active:
        return
    too_heavy = member is not None and request.weight is not None and request.weight > member.weight
    if too_heavy or (member is None and present is None and not _awaits_flat(world, key)):
        applied = member.weight if member else 0.0
        reason = f"is more than the weight {applied:g} of {key.text} in the applied set; apply a plan that names it"
        raise InputInvalidError(field="weight" if too_heavy else "active", reason=reason, applied_weight=applied)


def _is_bound(world: World, key: InstanceKey) -> bool:
    current = StrategyInstance.objects.filter(world=world, withdrawn_at=None)
    return current.filter(strategy_id=key.strategy_id, side=key.side).exists()


def _awaits_flat(world: World, key: InstanceKey) -> bool:
    return GateHold.objects.filter(world=world, scope=key.text, kind=HoldKind.AWAITING_FLAT.value).exists()


def _waiver(world: World, key: InstanceKey, act: Act) -> Reopening | None:
    if not _awaits_flat(world, key):
        return None
    return request_reopening(asked=Asked(world.id, Reopening.Subject.AWAITING_FLAT, key.text), act=act)


def _supersede_requests(world: World, key: InstanceKey, act: Act) -> None:
    """A request to loosen what lay there before is about something that is gone."""
    waiting = Reopening.objects.filter(world=world, subject=Reopening.Subject.OVERRIDE, scope=key.text)
    for reopening in waiting.filter(state=Reopening.State.REQUESTED):
        close_request(reopening=reopening, state=Reopening.State.SUPERSEDED, act=act)


def _stamp(row: OverrideRow | None) -> str:
    """Name what lies there, so that a grant can tell whether it still does."""
    return "" if row is None else f"{row.pk} {row.set_at.isoformat()} {row.stays_closed}"


def _to_json(override: Override) -> dict[str, object]:
    return {
        "cap": override.cap,
        "freeze": override.freeze,
        "drain": override.drain,
        "expires_at": override.expires_at.isoformat() if override.expires_at else None,
    }


def _from_json(key: InstanceKey, body: dict[str, Any]) -> Override:
    until = body["expires_at"]
    return Override(
        key,
        body["cap"],
        freeze=body["freeze"],
        drain=body["drain"],
        expires_at=datetime.fromisoformat(until) if until else None,
    )
