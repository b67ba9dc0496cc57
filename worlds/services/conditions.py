"""Conditions that last: each second those that hold are compared with the alerts that are open (level-triggered)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from django.db import OperationalError, transaction
from django.db.models import F, Q

from audit.models import AuditRun, AuditRunState
from audit.recorder import record
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import WorldsError
from qmtl_worlds.contracts.lease import drain_seconds
from qmtl_worlds.contracts.states import LIVE_STATES, RunState
from worlds.models import ActivationEntry, Alert, ApplyRun, PolicyChange, Reopening, RunnerSession, World
from worlds.services.alerts import clear_alert, raise_alert
from worlds.services.changes import locked_world

APPLY_OBJECTIVE: Final = timedelta(seconds=30)
"""A run that stays in one state for so long, and a drain, is slow."""
EVALUATION_OBJECTIVE: Final = timedelta(seconds=30)
STALE_AFTER: Final = timedelta(hours=4)
"""So long somebody may be kept waiting for a second person; of a run no longer than half of what it lives."""
LOST_AFTER_LEASES: Final = 3
FORGOTTEN_AFTER: Final = timedelta(days=1)
"""A Runner that was not heard of for so long was taken away, not lost."""
WATCHED: Final = frozenset(
    {
        "run_held",
        "apply_slow",
        "evaluation_slow",
        "data_stale",
        "approval_waiting",
        "approval_stale",
        "runner_lost",
    }
)
"""The kinds that come and go here; others are raised and cleared where their fact arises."""
_AUDITED: Final = {"data_stale": ("data.stale", "data.fresh")}
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that holds in a world now; the three texts are what makes it the same the next second."""

    world_id: str
    kind: str
    subject: str
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False)


def watch_alerts(*, act: Act) -> None:
    """Raise an alert for each condition that has begun, and end those whose condition is over."""
    holding = {condition: condition for condition in _conditions(act.now)}
    rows = Alert.objects.filter(cleared_at=None, kind__in=WATCHED).values_list("world_id", "kind", "subject")
    told = {Condition(*row) for row in rows}
    begun, over = holding.keys() - told, told - holding.keys()
    for world_id in sorted({one.world_id for one in begun | over}):
        _guarded(world_id, [one for one in begun if one.world_id == world_id], over, act)


def _guarded(world_id: str, begun: Iterable[Condition], over: Iterable[Condition], act: Act) -> None:
    """A world that refuses does not keep the others from being told."""
    try:
        _tell(world_id, begun, [one for one in over if one.world_id == world_id], act)
    except WorldsError as error:
        _log.warning("alerts_refused", world_id=world_id, code=error.code, detail=error.detail)
    except OperationalError as error:  # somebody holds the world's lock
        _log.warning("alerts_postponed", world_id=world_id, detail=str(error))


@transaction.atomic
def _tell(world_id: str, begun: Iterable[Condition], over: Iterable[Condition], act: Act) -> None:
    world = locked_world(world_id, alive=False)
    for one in sorted(begun, key=_place):
        if raise_alert(world=world, kind=one.kind, subject=one.subject, facts=one.facts, act=act):
            _record(one, act, begins=True)
    for one in sorted(over, key=_place):
        if clear_alert(world=world, kind=one.kind, subject=one.subject, act=act):
            _record(one, act, begins=False)


def _place(condition: Condition) -> tuple[str, str]:
    return condition.kind, condition.subject


def _record(condition: Condition, act: Act, *, begins: bool) -> None:
    if condition.kind in _AUDITED:
        kind = _AUDITED[condition.kind][0 if begins else 1]
        record(chain=condition.world_id, kind=kind, act=act, subject=condition.subject)


def _conditions(now: datetime) -> Iterator[Condition]:
    yield from _held()
    yield from _slow_applies(now)
    yield from _slow_evaluations(now)
    yield from _stale_data(now)
    yield from _waiting(now)
    yield from _lost_runners(now)


def _held() -> Iterator[Condition]:
    for run in ApplyRun.objects.filter(state=RunState.HELD):
        yield Condition(run.world_id, "run_held", run.run_id, {"reason": run.state_reason})


def _slow_applies(now: datetime) -> Iterator[Condition]:
    live = ApplyRun.objects.select_related("world").filter(state__in=[state.value for state in LIVE_STATES])
    for run in live.filter(state_changed_at__lt=now - APPLY_OBJECTIVE):
        drain = timedelta(seconds=drain_seconds(lease_seconds=run.world.lease_ms / 1000, slack_seconds=0.0))
        if now - run.state_changed_at > APPLY_OBJECTIVE + drain:
            yield Condition(run.world_id, "apply_slow", run.run_id, {"state": run.state})


def _slow_evaluations(now: datetime) -> Iterator[Condition]:
    slow = AuditRun.objects.filter(state=AuditRunState.RUNNING, started_at__lt=now - EVALUATION_OBJECTIVE)
    for world_id, run_id in slow.values_list("world_id", "run_id"):
        yield Condition(world_id, "evaluation_slow", run_id)


def _stale_data(now: datetime) -> Iterator[Condition]:
    """Members of the present sets whose data is stale; a replay's clock is not ours."""
    members = ActivationEntry.objects.select_related("instance").filter(
        set__generation=F("set__world__generation"), set__world__state=World.State.ACTIVE
    )
    stale = Q(instance__fresh_until__lt=now) | Q(instance__fresh_until=None)
    for entry in members.exclude(set__world__mode=World.Mode.REPLAY).filter(stale):
        until = entry.instance.fresh_until
        facts = {"fresh_until": until.isoformat() if until else None}
        yield Condition(entry.instance.world_id, "data_stale", entry.instance.key.text, facts)


def _waiting(now: datetime) -> Iterator[Condition]:
    """Whatever waits for a second person."""
    for run in ApplyRun.objects.filter(state=RunState.REQUESTED):
        half = (run.approval_expires_at - run.requested_at) / 2 if run.approval_expires_at else STALE_AFTER
        yield from _approval(run.world_id, run.run_id, now - run.requested_at, min(half, STALE_AFTER))
    changes = PolicyChange.objects.select_related("policy").filter(state=PolicyChange.State.REQUESTED)
    for change in changes:
        yield from _approval(
            change.world_id, f"policy:v{change.policy.version}", now - change.requested_at, STALE_AFTER
        )
    for request in Reopening.objects.filter(state=Reopening.State.REQUESTED):
        yield from _approval(request.world_id, f"reopening:{request.pk}", now - request.requested_at, STALE_AFTER)


def _approval(world_id: str, subject: str, waited: timedelta, limit: timedelta) -> Iterator[Condition]:
    yield Condition(world_id, "approval_waiting", subject)
    if waited >= limit:
        yield Condition(world_id, "approval_stale", subject)


def _lost_runners(now: datetime) -> Iterator[Condition]:
    recent = RunnerSession.objects.select_related("world").filter(seen_at__gt=now - FORGOTTEN_AFTER)
    for session in recent.filter(world__state=World.State.ACTIVE):
        silence = LOST_AFTER_LEASES * timedelta(milliseconds=session.world.lease_ms)
        if now - session.seen_at > silence:
            facts = {"seen_at": session.seen_at.isoformat()}
            yield Condition(session.world_id, "runner_lost", session.client_id, facts)
