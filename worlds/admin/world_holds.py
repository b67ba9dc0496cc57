"""Every hold of a world in words: what it lets through, who put it there and why, and what takes it away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from audit.models import AuditEvent
from qmtl_worlds.contracts.acts import Grants
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.lifecycle.holds import HoldKind
from qmtl_worlds.lifecycle.override import DRAIN_OWNER, FREEZE_OWNER
from strategies.models import StrategyInstance
from worlds.admin.badges import Badge, badge
from worlds.admin.scoped import act_address, page_address
from worlds.admin.words import ago, moment, person_name
from worlds.models import ApplyRun, GateHold, Override, World
from worlds.services.gate_levels import OWNER as GATE_OWNER
from worlds.services.restore import FENCED
from worlds.stores.kill_file import filed_kills


@dataclass(frozen=True, slots=True)
class Lift:
    """What takes a hold away: a button where there is one and the person may press it, else who or what does."""

    words: str
    label: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class HoldView:
    """One hold; ``place`` is empty for the whole world."""

    level: Badge
    kind: str
    place: str
    place_address: str
    who: str
    since: str
    since_at: str
    until: str
    why: str
    lift: Lift


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows behind the holds, by what their holds call them."""

    world: World
    grants: Grants
    instances: Mapping[str, StrategyInstance]
    overrides: Mapping[str, Override]
    runs: Mapping[str, ApplyRun]


def holds_view(
    world: World, holds: Iterable[GateHold], *, overrides: Iterable[Override], grants: Grants, now: datetime
) -> tuple[HoldView, ...]:
    """Return the holds of a world and its instances, those of the whole world first; a fixed number of queries."""
    filed = [_filed(world, scope, actor, reason, at) for scope, actor, reason, at in _files(world)]
    found = [*_suspended(world), *filed, *holds]
    scopes, owners = {hold.scope for hold in found}, {hold.owner for hold in found if hold.kind == HoldKind.APPLY}
    rows = _Rows(
        world,
        grants,
        _instances(world, scopes - {""}),
        {row.scope: row for row in overrides},
        {run.run_id: run for run in ApplyRun.objects.filter(world=world, run_id__in=owners)} if owners else {},
    )
    return tuple(_view(hold, rows, now) for hold in found)


def _view(hold: GateHold, rows: _Rows, now: datetime) -> HoldView:
    instance = rows.instances.get(hold.scope)
    return HoldView(
        level=badge(hold.level),
        kind=hold.kind,
        place=hold.scope,
        place_address=page_address(instance) if instance else "",
        who=person_name(hold.placed_by),
        since=ago(hold.placed_at, now=now),
        since_at=moment(hold.placed_at),
        until=ago(hold.expires_at, now=now) if hold.expires_at else "",
        why=hold.reason,
        lift=_lift(hold, rows),
    )


def _lift(hold: GateHold, rows: _Rows) -> Lift:
    kind, place = HoldKind(hold.kind), rows.instances.get(hold.scope) if hold.scope else rows.world
    if kind is HoldKind.APPLY:
        run = rows.runs.get(hold.owner)
        words = "Goes when its run ends"
        return Lift(words, "See the run", page_address(run)) if run else Lift(words)
    if kind is HoldKind.OVERRIDE or hold.owner in {FREEZE_OWNER, DRAIN_OWNER}:
        return _pressed(rows, _LIFTS[HoldKind.OVERRIDE], rows.overrides.get(hold.scope))
    if kind is HoldKind.FREEZE and hold.owner == GATE_OWNER:
        return _pressed(rows, _REOPEN_GATE, place)
    if kind is HoldKind.BOOT:
        return _pressed(rows, _LIFT_BOOT, place if hold.owner == FENCED else None)
    return _pressed(rows, _LIFTS[kind], place)


@dataclass(frozen=True, slots=True)
class _Rule:
    """Which button lifts a kind of hold and who may press it; without a name nobody does, and ``words`` say why."""

    words: str
    name: str = ""
    label: str = ""
    permission: str = ""


_LIFTS: Final[Mapping[HoldKind, _Rule]] = {
    HoldKind.KILL: _Rule("Lifted by the role risk; live: by two people", "lift-kill", "Lift the kill", "gate.reopen"),
    HoldKind.SUSPENDED: _Rule("Lifted by approver or risk", "take-up", "Take up again", "apply.approve"),
    HoldKind.CIRCUIT: _Rule(
        "Reset by the role risk; live: by two people", "reset-circuit", "Reset the circuit", "gate.reopen"
    ),
    HoldKind.FREEZE: _Rule("Lifted by operator or risk", "unfreeze", "Unfreeze", "gate.reopen"),
    HoldKind.OVERRIDE: _Rule("Ended by two people, or by its time", "end", "End the override", "override.request"),
    HoldKind.AWAITING_FLAT: _Rule(
        "Goes when its Runner reports a flat position", "waive-flat", "Ask to waive it", "override.request"
    ),
    HoldKind.STALE_RISK: _Rule("Goes when equity or returns come again"),
    HoldKind.WITHDRAWN: _Rule("Goes when the instance has left the set"),
}
_REOPEN_GATE: Final = _Rule("Lifted by operator or risk", "reopen-gate", "Open it again", "gate.reopen")
_LIFT_BOOT: Final = _Rule("Goes after manage.py world_restore_fence", "lift-boot", "Open it again", "gate.lift_kill")


def _pressed(rows: _Rows, rule: _Rule, row: World | StrategyInstance | Override | None) -> Lift:
    if not rule.name or row is None or not rows.grants.allows(rule.permission, rows.world.id):
        return Lift(rule.words)
    return Lift(rule.words, rule.label, act_address(row, rule.name))


def _instances(world: World, scopes: set[str]) -> dict[str, StrategyInstance]:
    """Return the newest instance of each scope."""
    if not scopes:
        return {}
    names = {InstanceKey.from_text(scope).strategy_id for scope in scopes}
    rows = StrategyInstance.objects.filter(world=world, strategy_id__in=names).order_by("bound_at", "pk")
    return {row.key.text: row for row in rows}


def _files(world: World) -> Iterable[tuple[str, str, str, datetime]]:
    return ((filed.scope, filed.actor, filed.reason, filed.at) for filed in filed_kills(world.id))


def _filed(world: World, scope: str, actor: str, reason: str, at: datetime) -> GateHold:
    return GateHold(
        world=world,
        scope=scope,
        kind=HoldKind.KILL.value,
        owner=actor,
        level="closed",
        reason=f"{reason} (not recorded yet)",
        placed_by=actor,
        placed_at=at,
    )


def _suspended(world: World) -> list[GateHold]:
    """Return the hold of a world that is not in use; no row stands for it, so the audit says who and why."""
    if world.state != World.State.SUSPENDED:
        return []
    told = AuditEvent.objects.filter(chain=world.id, kind="world.suspended").order_by("-seq").first()
    return [
        GateHold(
            world=world,
            kind=HoldKind.SUSPENDED.value,
            owner=world.id,
            level="closed",
            reason=told.reason if told else "",
            placed_by=told.actor if told else "",
            placed_at=told.at if told else world.changed_at,
        )
    ]
