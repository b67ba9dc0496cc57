"""The first page: every world that the person may read, how its gate is, and what waits for a decision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import Count, Max
from django.http import HttpRequest

from audit.models import AuditRun
from qmtl_worlds.contracts.states import RunState
from worlds.admin.access import grants_of, has_anywhere, readable_worlds, user_of
from worlds.admin.badges import Badge, badge
from worlds.admin.gates import gates_of
from worlds.admin.reopening_words import grant_permission, is_yours, what_is_asked
from worlds.admin.scoped import page_address
from worlds.admin.words import GATE_REASONS, ago, person_name
from worlds.models import ActivationEntry, Alert, ApplyRun, PolicyChange, Reopening, World
from worlds.services.authority import person_of
from worlds.stores.clock import database_now

WORLDS_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class WorldCard:
    """One world in short."""

    world: World
    address: str
    gate: Badge
    gate_reason: str
    mode: Badge
    effective_mode: Badge
    active_count: int
    last: str
    last_badge: Badge | None


@dataclass(frozen=True, slots=True)
class Task:
    """Something that waits; ``yours`` where the person who looks may decide it."""

    what: str
    world_id: str
    asked: str
    address: str
    yours: bool


@dataclass(frozen=True, slots=True)
class Home:
    """What the first page shows: ``alerts`` counts the open ones by severity; ``hidden_count`` worlds did not fit."""

    cards: tuple[WorldCard, ...]
    tasks: tuple[Task, ...]
    alerts: tuple[tuple[Badge, int], ...]
    hidden_count: int
    reads_worlds: bool


def home_of(request: HttpRequest) -> Home:
    """Read the first page of whoever is signed in; a fixed number of queries."""
    now = database_now()
    alive = readable_worlds(request).exclude(state=World.State.DELETED)
    worlds = list(alive.select_related("policy")[: WORLDS_SHOWN + 1])
    shown = worlds[:WORLDS_SHOWN]
    return Home(
        cards=tuple(_cards(shown, now)),
        tasks=tuple(_tasks(request, now)),
        alerts=_alerts(request),
        hidden_count=0 if len(worlds) <= WORLDS_SHOWN else alive.count() - WORLDS_SHOWN,
        reads_worlds=has_anywhere(request, "world.read"),
    )


def active_counts(worlds: Sequence[World]) -> dict[str, int]:
    """Return how many instances are active in each world, by id."""
    current = ActivationEntry.objects.filter(set__world__in=worlds).filter(
        set__generation__in={world.generation for world in worlds}
    )
    rows = current.order_by().values_list("set__world_id", "set__generation").annotate(size=Count("pk"))
    sizes = {(world_id, generation): size for world_id, generation, size in rows}
    return {world.id: sizes.get((world.id, world.generation), 0) for world in worlds}


def _alerts(request: HttpRequest) -> tuple[tuple[Badge, int], ...]:
    """Count the open alerts that are worth a look, the gravest first."""
    rows = Alert.objects.filter(world__in=readable_worlds(request).values("id"), cleared_at=None).order_by()
    counts = dict(rows.values_list("severity").annotate(Count("pk")))
    return tuple((badge(name), counts[name]) for name in ("critical", "warning") if name in counts)


def _cards(worlds: Sequence[World], now: datetime) -> list[WorldCard]:
    gates, active, newest = gates_of(worlds, now=now), active_counts(worlds), _newest(worlds)
    cards = []
    for world in worlds:
        found, run = gates[world.id], newest.get(world.id)
        cards.append(
            WorldCard(
                world=world,
                address=page_address(world),
                gate=badge(found.gate.level.value),
                gate_reason=GATE_REASONS[found.gate.reason],
                mode=badge(world.mode),
                effective_mode=badge(found.effective_mode.value),
                active_count=active[world.id],
                last="never evaluated" if run is None else ago(run.finished_at or run.started_at, now=now),
                last_badge=None if run is None else badge(run.state),
            )
        )
    return cards


def _newest(worlds: Sequence[World]) -> dict[str, AuditRun]:
    ids = AuditRun.objects.filter(world_id__in=[world.id for world in worlds])
    newest = ids.order_by().values("world_id").annotate(newest=Max("pk")).values_list("newest", flat=True)
    runs = AuditRun.objects.filter(pk__in=list(newest)).defer("envelope", "inputs_json")
    return {run.world_id: run for run in runs}


def _tasks(request: HttpRequest, now: datetime) -> list[Task]:
    """List what waits for a decision, that of others too; oldest first."""
    worlds = readable_worlds(request).values("id")
    runs = ApplyRun.objects.filter(world__in=worlds, state=RunState.REQUESTED).select_related("policy")
    changes = PolicyChange.objects.filter(world__in=worlds, state=PolicyChange.State.REQUESTED)
    changes = changes.select_related("policy")
    reopenings = Reopening.objects.filter(world__in=worlds, state=Reopening.State.REQUESTED)
    found = [
        *_reopening_tasks(reopenings, request, now),
        *_run_tasks(runs, request, now),
        *_policy_tasks(changes, request, now),
    ]
    return [task for _, task in sorted(found, key=lambda one: one[0])]


def _reopening_tasks(rows: Iterable[Reopening], request: HttpRequest, now: datetime) -> Iterator[tuple[datetime, Task]]:
    person = person_of(user_of(request))
    for row in rows:
        may = grants_of(request).allows(grant_permission(row), row.world_id)
        yield row.requested_at, _task(row, what_is_asked(row), now, yours=is_yours(row, person=person, may_grant=may))


def _run_tasks(runs: Iterable[ApplyRun], request: HttpRequest, now: datetime) -> Iterator[tuple[datetime, Task]]:
    for run in runs:
        others = {run.requester_person, run.policy.author_person}
        yours = _may_decide(request, "apply.approve", run.world_id, others)
        yield run.requested_at, _task(run, f"Apply {run.run_id}", now, yours=yours)


def _policy_tasks(
    changes: Iterable[PolicyChange], request: HttpRequest, now: datetime
) -> Iterator[tuple[datetime, Task]]:
    for change in changes:
        others = {change.requester_person, change.policy.author_person}
        yours = _may_decide(request, "policy.approve", change.world_id, others)
        yield change.requested_at, _task(change, f"Policy version {change.policy.version}", now, yours=yours)


def _may_decide(request: HttpRequest, permission: str, world_id: str, others: Set[str]) -> bool:
    person = person_of(user_of(request))
    return bool(person) and person not in others and grants_of(request).allows(permission, world_id)


def _task(row: ApplyRun | PolicyChange | Reopening, what: str, now: datetime, *, yours: bool) -> Task:
    return Task(
        what=what,
        world_id=row.world_id,
        asked=f"{person_name(row.requested_by)}, {ago(row.requested_at, now=now)}",
        address=page_address(row),
        yours=yours,
    )
