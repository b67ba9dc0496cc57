"""Raise alerts once, and end them when they are over: each in the transaction of the change that it tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog
from django.db import transaction

from audit.models import KEY_LENGTH
from audit.recorder import NewEvent, record_all
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import NotFoundError
from qmtl_worlds.contracts.plans import ChangeKind, parse_plan
from qmtl_worlds.contracts.states import RunState
from worlds.alerts import CATALOG, Ending, Severity
from worlds.models import Alert, ApplyRun, World
from worlds.services.changes import VisibleChange, announce_all, locked_world

_EVENT: Final = "alert"
_log = structlog.get_logger(__name__)


def raise_alert(
    *, world: World, kind: str, act: Act, subject: str = "", facts: Mapping[str, Any] | None = None
) -> Alert | None:
    """Raise an alert of the catalog, unless it is open already: None then. The caller holds the world's lock.

    Raises:
        KeyError: the kind is not in ``worlds.alerts.CATALOG``.
    """
    alert = new_alert(world=world, kind=kind, subject=subject, facts=facts, act=act)
    if alert is not None:
        alert.sequence = _tell(alert, act, phase="raised")
        save_alert(alert)
        _record(alert, act, "alert.raised")
    return alert


def new_alert(
    *, world: World, kind: str, act: Act, subject: str = "", facts: Mapping[str, Any] | None = None
) -> Alert | None:
    """Return an alert of the catalog that is neither announced, saved nor recorded, unless it is open already.

    One that does not end with a condition is raised once for its subject. Whoever raises it beside other changes of a
    transaction announces ``told(alert, phase="raised")``, whose number is the alert's ``sequence``, saves it by
    ``save_alert`` and records its ``raised_event``.

    Raises:
        KeyError: the kind is not in ``worlds.alerts.CATALOG``.
    """
    known = CATALOG[kind]
    same = Alert.objects.filter(world=world, kind=kind, subject=subject)
    if known.ending is Ending.CONDITION:
        same = same.filter(cleared_at=None)
    if same.exists():
        return None
    return Alert(
        world=world,
        kind=kind,
        subject=subject,
        severity=known.severity.value,
        detail=known.text,
        facts=dict(facts or {}),
        raised_at=act.now,
        cleared_at=act.now if known.ending is Ending.AT_ONCE else None,
    )


def told(alert: Alert, *, phase: str) -> VisibleChange:
    """Return the visible change that an alert makes by being ``raised`` or ``cleared``."""
    payload = {
        "alert": alert.kind,
        "about": alert.subject,
        "severity": alert.severity,
        "phase": phase,
        "facts": alert.facts,
    }
    return VisibleChange(kind=_EVENT, payload=payload)


def save_alert(alert: Alert) -> None:
    """Store an alert that was announced, and log it."""
    alert.save(force_insert=True)
    tell = _log.info if alert.severity == Severity.INFO else _log.warning
    tell("alert", world_id=alert.world_id, alert=alert.kind, about=alert.subject, severity=alert.severity)


def raised_event(alert: Alert) -> NewEvent:
    """Return what the audit says of an alert that is raised."""
    return _event(alert, "alert.raised")


def clear_alert(*, world: World, kind: str, act: Act, subject: str = "") -> bool:
    """End an alert whose condition is over; tell whether it was open. The caller holds the world's lock."""
    alert = Alert.objects.filter(world=world, kind=kind, subject=subject, cleared_at=None).first()
    if alert is None:
        return False
    alert.world = world  # whose sequence rises: the caller's object must know
    _clear(alert, act)
    return True


@transaction.atomic
def acknowledge_alert(*, world_id: str, alert_id: int, act: Act) -> Alert:
    """Note that a person has seen an alert; one that lasts until then is over. Twice is once.

    Raises:
        NotFoundError: the world has no such alert.
    """
    act.require("alert.acknowledge", world_id)
    world = locked_world(world_id, alive=False)
    alert = Alert.objects.filter(world=world, pk=alert_id).first()
    if alert is None:
        raise NotFoundError(f"World {world_id!r} has no alert {alert_id}.", world_id=world_id, alert_id=alert_id)
    if alert.acknowledged_at is not None:
        return alert
    alert.world = world
    alert.acknowledged_by, alert.acknowledged_at = act.actor, act.now
    alert.save(update_fields=["acknowledged_by", "acknowledged_at"])
    _record(alert, act, "alert.acknowledged")
    if alert.cleared_at is None and CATALOG[alert.kind].ending is Ending.ACKNOWLEDGED:
        _clear(alert, act)
    return alert


def list_alerts(*, world_id: str, open_only: bool, before: int | None = None, limit: int = 100) -> tuple[Alert, ...]:
    """List alerts, newest first; ``before`` asks for older ones."""
    alerts = Alert.objects.filter(world_id=world_id).order_by("-id")
    if open_only:
        alerts = alerts.filter(cleared_at=None)
    if before is not None:
        alerts = alerts.filter(pk__lt=before)
    return tuple(alerts[:limit])


@dataclass(frozen=True, slots=True)
class FailedChanges:
    """How many planned changes never happened, because their run ended other than done."""

    promotion_fail_total: int
    demotion_fail_total: int

    def __add__(self, other: FailedChanges) -> FailedChanges:
        """Return both together."""
        return FailedChanges(
            self.promotion_fail_total + other.promotion_fail_total, self.demotion_fail_total + other.demotion_fail_total
        )


def failed_changes(*, world_id: str, after: datetime | None = None, up_to: datetime | None = None) -> FailedChanges:
    """Count the planned promotions and demotions of the runs that were cancelled or rolled back, then if it is said."""
    failed = [RunState.CANCELLED.value, RunState.ROLLED_BACK.value]
    runs = ApplyRun.objects.filter(world_id=world_id, state__in=failed)
    runs = runs if after is None else runs.filter(state_changed_at__gt=after)
    runs = runs if up_to is None else runs.filter(state_changed_at__lte=up_to)
    plans = runs.values_list("plan", flat=True)
    kinds = Counter(change.kind for plan in plans.iterator() for change in parse_plan(plan).changes)
    return FailedChanges(kinds[ChangeKind.PROMOTE], kinds[ChangeKind.DEMOTE])


def _clear(alert: Alert, act: Act) -> None:
    alert.cleared_at = act.now
    alert.save(update_fields=["cleared_at"])
    _tell(alert, act, phase="cleared")
    _record(alert, act, "alert.cleared")


def _tell(alert: Alert, act: Act, *, phase: str) -> int:
    (sequence,) = announce_all(alert.world, [told(alert, phase=phase)], now=act.now)
    return sequence


def _record(alert: Alert, act: Act, kind: str) -> None:
    record_all(chain=alert.world_id, act=act, events=[_event(alert, kind)])


def _event(alert: Alert, kind: str) -> NewEvent:
    subject = f"{alert.kind} {alert.subject}".strip()[:KEY_LENGTH]
    return {"kind": kind, "subject": subject, "after": {"severity": alert.severity}}
