"""A world in one look: what trades now and why, what waits, what happened last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Count, Q
from django.urls import reverse

from audit.models import AuditEvent, AuditRun, AuditRunState
from audit.selectors import EventFilter, list_events
from qmtl_worlds.contracts.activation import ActivationReason
from qmtl_worlds.contracts.acts import Grants
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.states import TERMINAL_STATES, RunState
from qmtl_worlds.lifecycle.gate import EntryFacts, WorldFacts, answer
from qmtl_worlds.lifecycle.override import NO_CAP
from qmtl_worlds.lifecycle.schedule import BarCloseSlot, EverySlot
from strategies.models import StrategyInstance
from worlds.admin.badges import Badge, badge
from worlds.admin.reopening_words import reopening_needs, what_is_asked
from worlds.admin.scoped import page_address
from worlds.admin.words import EFFECTIVE_MODES, GATE_REASONS, ago, moment, person_name, share, span
from worlds.admin.world_closing import GateView, StopView, gate_view, stops_of
from worlds.admin.world_holds import HoldView, holds_view
from worlds.admin.world_layers import AlertView, OverrideView, PinView, alerts_view, overrides_view, pin_view
from worlds.admin.world_risk import CircuitView, circuit_view
from worlds.models import ActivationSet, ApplyRun, PolicyChange, Reopening, World
from worlds.selectors import holds_of, members_of, overrides_of
from worlds.services.closings import closing_of
from worlds.services.gate_facts import read_world
from worlds.services.scheduling import schedule_of
from worlds.stores.world_rows import Member

EVENTS_SHOWN: Final = 8
SETS_SHOWN: Final = 6


@dataclass(frozen=True, slots=True)
class MemberView:
    """One active instance; ``bar`` is what it may use in thousandths of capital, ``capped`` its override, if any."""

    key: InstanceKey
    weight: str
    capped: str
    bar: int
    since: str
    since_at: str
    gate: Badge
    gate_reason: str
    evaluation: str
    address: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that somebody must decide."""

    what: str
    who: str
    since: str
    address: str


@dataclass(frozen=True, slots=True)
class EvaluationView:
    """The newest evaluation."""

    run: AuditRun
    badge: Badge
    when: str
    address: str
    decision: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DataHealth:
    """How many of the bound, wanted instances have fresh data, stale data, and none."""

    bound: int
    fresh: int
    stale: int
    empty: int


@dataclass(frozen=True, slots=True)
class WorldPage:
    """Everything that the page shows."""

    world: World
    mode: Badge
    effective_mode: Badge
    effective_words: str
    gate: GateView
    stops: tuple[StopView, ...]
    members: tuple[MemberView, ...]
    gross: tuple[tuple[str, str], ...]
    waiting: tuple[Waiting, ...]
    runs: tuple[tuple[ApplyRun, Badge, str], ...]
    evaluation: EvaluationView | None
    health: DataHealth
    schedule: str
    holds: tuple[HoldView, ...]
    circuit: CircuitView | None
    overrides: tuple[OverrideView, ...]
    pin: PinView | None
    alerts: tuple[AlertView, ...]
    sets: tuple[ActivationSet, ...]
    events: tuple[AuditEvent, ...]
    clock: str


def world_page(world: World, *, now: datetime, grants: Grants) -> WorldPage:
    """Read what the page of ``world`` shows at ``now``, the database's time, to whoever has ``grants``."""
    reading = read_world(world_id=world.id)
    facts, at = reading.facts, reading.at
    members, holds, overrides = members_of(world.id, world.generation), holds_of(world.id), overrides_of(world.id)
    caps = {row.scope: row.cap for row in overrides}
    waiting = [*_waiting_reopenings(world, now), *_waiting_runs(world, now), *_waiting_policies(world, now)]
    return WorldPage(
        world=world,
        mode=badge(world.mode),
        effective_mode=badge(facts.effective_mode.value),
        effective_words=EFFECTIVE_MODES[facts.effective_mode],
        gate=gate_view(facts, closing_of(world_id=world.id), now),
        stops=stops_of(world, facts.holds),
        members=_members(members, caps, facts, at),
        gross=_gross(members),
        waiting=tuple(waiting),
        runs=_open_runs(world, now),
        evaluation=_evaluation(world, now),
        health=_health(world, at),
        schedule=_schedule(world, at),
        holds=holds_view(world, holds, overrides=overrides, grants=grants, now=now),
        circuit=circuit_view(world, now=now),
        overrides=overrides_view(overrides, holds, grants=grants, now=now),
        pin=pin_view(world, now=now),
        alerts=alerts_view(world, grants=grants, now=now),
        sets=_sets(world),
        events=_events(world) if grants.allows("audit.read", world.id) else (),
        clock=moment(at) if at != now else "",
    )


def _members(
    members: dict[InstanceKey, Member], caps: Mapping[str, float], facts: WorldFacts, at: datetime
) -> tuple[MemberView, ...]:
    ordered = sorted(members.values(), key=lambda member: (-member.weight, member.key))
    return tuple(_member(member, caps.get(member.key.text, NO_CAP), facts, at) for member in ordered)


def _member(member: Member, cap: float, facts: WorldFacts, at: datetime) -> MemberView:
    entry = EntryFacts(key=member.key, bound=True, weight=member.weight, cap=cap, fresh_until=member.fresh_until)
    envelope = answer(entry, facts, at)
    return MemberView(
        key=member.key,
        weight=share(member.weight),
        capped=share(cap) if cap < member.weight else "",
        bar=round(min(member.weight, cap) * 1000),
        since=ago(member.promoted_at, now=at),
        since_at=moment(member.promoted_at),
        gate=badge(envelope.gate.value),
        gate_reason=GATE_REASONS[ActivationReason(envelope.reason)],
        evaluation=member.evaluation_run_id,
        address=reverse("admin:strategies_strategyinstance_change", args=[member.instance_id]),
    )


def _gross(members: dict[InstanceKey, Member]) -> tuple[tuple[str, str], ...]:
    sides = sorted({key.side for key in members})
    return tuple(
        (side.value, share(sum(member.weight for key, member in members.items() if key.side is side))) for side in sides
    )


def _waiting_reopenings(world: World, now: datetime) -> list[Waiting]:
    rows = Reopening.objects.filter(world=world, state=Reopening.State.REQUESTED)
    return [
        Waiting(
            what=what_is_asked(row),
            who=f"{reopening_needs(row)}; {person_name(row.requested_by)}",
            since=ago(row.requested_at, now=now),
            address=page_address(row),
        )
        for row in rows
    ]


def _waiting_runs(world: World, now: datetime) -> list[Waiting]:
    runs = ApplyRun.objects.filter(world=world, state=RunState.REQUESTED).prefetch_related("approvals")
    return [
        Waiting(
            what=f"Apply {run.run_id}: {len(run.plan['reasons'])} changes",
            who=f"{len(run.approvals.all())} of {run.approvals_needed} approvals",
            since=ago(run.requested_at, now=now),
            address=page_address(run),
        )
        for run in runs
    ]


def _waiting_policies(world: World, now: datetime) -> list[Waiting]:
    changes = PolicyChange.objects.filter(world=world, state=PolicyChange.State.REQUESTED).select_related("policy")
    return [
        Waiting(
            what=f"Policy version {change.policy.version}",
            who="to be put in force by a second person",
            since=ago(change.requested_at, now=now),
            address=page_address(change),
        )
        for change in changes
    ]


def _open_runs(world: World, now: datetime) -> tuple[tuple[ApplyRun, Badge, str], ...]:
    ended = sorted(state.value for state in TERMINAL_STATES | {RunState.REQUESTED})
    runs = ApplyRun.objects.filter(world=world).exclude(state__in=ended)
    return tuple((run, badge(run.state), ago(run.state_changed_at, now=now)) for run in runs)


def _evaluation(world: World, now: datetime) -> EvaluationView | None:
    run = AuditRun.objects.filter(world_id=world.id).order_by("-pk").first()
    if run is None:
        return None
    decision = json.loads(run.decision_bytes() or b"{}")
    when = ago(run.finished_at or run.started_at, now=now)
    return EvaluationView(run, badge(run.state), when, page_address(run), decision)


def _health(world: World, at: datetime) -> DataHealth:
    bound = StrategyInstance.objects.filter(world=world, withdrawn_at=None, wanted=True)
    counted = bound.aggregate(
        bound=Count("pk"),
        fresh=Count("pk", filter=Q(fresh_until__gte=at)),
        stale=Count("pk", filter=Q(fresh_until__lt=at)),
    )
    return DataHealth(**counted, empty=counted["bound"] - counted["fresh"] - counted["stale"])


def _schedule(world: World, at: datetime) -> str:
    if world.policy is None:
        return "No policy, so no schedule."
    words = ""
    match schedule_of(world.policy):
        case None:
            return "By hand only."
        case EverySlot(every=every, offset=offset):
            words = f"Every {span(every.total_seconds())}"
            words += f", {span(offset.total_seconds())} later" if offset else ""
        case BarCloseSlot(delay=delay):
            words = f"{span(delay.total_seconds())} after each close"
    return f"{words}; last slot {ago(world.last_slot_at, now=at)}."


def _sets(world: World) -> tuple[ActivationSet, ...]:
    sets = ActivationSet.objects.filter(world=world).select_related("run").annotate(size=Count("entries"))
    return tuple(sets.order_by("-generation")[:SETS_SHOWN])


def _events(world: World) -> tuple[AuditEvent, ...]:
    return list_events(chain=world.id, wanted=EventFilter(), limit=EVENTS_SHOWN).events


def running_evaluation(world_id: str) -> AuditRun | None:
    """Return the evaluation that is under way, None where none is."""
    running = AuditRun.objects.filter(world_id=world_id, state=AuditRunState.RUNNING)
    return running.defer("envelope", "inputs_json").order_by("-pk").first()
