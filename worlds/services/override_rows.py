"""Overrides between their rows, the holds that they put on gates, and the layer that the rules work on."""

from __future__ import annotations

from dataclasses import dataclass

from audit.recorder import record
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.plans import ChangeReason
from qmtl_worlds.lifecycle.holds import Hold, HoldKind
from qmtl_worlds.lifecycle.override import DRAIN_OWNER, FREEZE_OWNER, Override, override_holds
from worlds.models import GateHold, World
from worlds.models import Override as OverrideRow
from worlds.selectors import find_override, members_of, overrides_of
from worlds.services.active_sets import start_cool_down
from worlds.services.alerts import clear_alert, raise_alert
from worlds.services.changes import announce
from worlds.services.holds import lift_hold, place_hold
from worlds.services.projection import project_after_commit
from worlds.services.withdrawals import drop_members

STAYS_CLOSED = "override_stays_closed"


@dataclass(frozen=True, slots=True)
class Laid:
    """An override as it is stored, and the layer that it is."""

    row: OverrideRow
    layer: Override


def layer_of(row: OverrideRow) -> Override:
    """Return a stored override; its freeze and drain stand as holds."""
    return _layer(row, _owners(row.world_id, [row.scope]))


def laid_over(world_id: str) -> tuple[Laid, ...]:
    """Return what lies over the instances of a world, by instance."""
    rows = overrides_of(world_id)
    owners = _owners(world_id, [row.scope for row in rows]) if rows else frozenset()
    return tuple(Laid(row, _layer(row, owners)) for row in rows)


def _owners(world_id: str, scopes: list[str]) -> frozenset[tuple[str, str]]:
    owned = GateHold.objects.filter(world_id=world_id, scope__in=scopes, kind=HoldKind.FREEZE.value)
    return frozenset(owned.values_list("scope", "owner"))


def _layer(row: OverrideRow, owners: frozenset[tuple[str, str]]) -> Override:
    return Override(
        InstanceKey.from_text(row.scope),
        row.cap,
        freeze=(row.scope, FREEZE_OWNER) in owners,
        drain=(row.scope, DRAIN_OWNER) in owners,
        expires_at=row.expires_at,
    )


def put_override(*, world: World, override: Override, kind: str, act: Act) -> OverrideRow:
    """Store an override in place of what lay there, with its holds; a member that it makes inactive leaves the set.

    The caller holds the world's lock; ``kind`` is the audit's.
    """
    scope = override.key.text
    before = find_override(world.id, scope)
    wanted, present = override_holds(override), override_holds(layer_of(before)) if before else frozenset()
    row, _ = OverrideRow.objects.update_or_create(
        world=world,
        scope=scope,
        defaults={
            "cap": override.cap,
            "reason": act.reason,
            "set_by": act.actor,
            "set_at": act.now,
            "expires_at": override.expires_at,
            "stays_closed": False,
        },
    )
    announce(world, kind="activation_updated", payload={"override": scope, "cap": override.cap}, now=act.now)
    _set_holds(world, wanted, present, act)
    clear_alert(world=world, kind=STAYS_CLOSED, subject=scope, act=act)
    record(chain=world.id, kind=kind, act=act, subject=scope, before=_facts(before, present), after=_facts(row, wanted))
    _tell_activity(world, override.key, wanted, present, act)
    project_after_commit(world_id=world.id)
    return row


def lift_override(*, world: World, row: OverrideRow, kind: str, act: Act) -> None:
    """Take an override away, with its holds; the instance is what the applied set says. The caller holds the lock."""
    layer = layer_of(row)
    present = override_holds(layer)
    facts = _facts(row, present)
    row.delete()
    announce(world, kind="activation_updated", payload={"override_lifted": layer.key.text}, now=act.now)
    _set_holds(world, frozenset(), present, act)
    clear_alert(world=world, kind=STAYS_CLOSED, subject=layer.key.text, act=act)
    record(chain=world.id, kind=kind, act=act, subject=layer.key.text, before=facts)
    _tell_activity(world, layer.key, frozenset(), present, act)
    project_after_commit(world_id=world.id)


def keep_closed(*, world: World, row: OverrideRow, act: Act) -> None:
    """Let an override whose time is over lie there until a person ends it, and call one. The caller holds the lock."""
    facts = _facts(row, override_holds(layer_of(row)))
    row.stays_closed, row.expires_at = True, None
    row.save(update_fields=["stays_closed", "expires_at"])
    record(
        chain=world.id, kind="override.expired", act=act, subject=row.scope, before=facts, after={"stays_closed": True}
    )
    raise_alert(world=world, kind=STAYS_CLOSED, subject=row.scope, facts={"cap": row.cap}, act=act)


def _set_holds(world: World, wanted: frozenset[Hold], present: frozenset[Hold], act: Act) -> None:
    for hold in sorted(wanted - present, key=lambda one: one.owner):
        place_hold(world=world, hold=hold, act=act)
    for hold in present - wanted:
        lift_hold(world=world, kind=hold.kind, owner=hold.owner, scope=hold.key.text if hold.key else "")


def _tell_activity(world: World, key: InstanceKey, wanted: frozenset[Hold], present: frozenset[Hold], act: Act) -> None:
    """Where an instance becomes inactive, take it out of the set; its streak and cool-down begin anew either way."""
    was, is_now = (any(hold.kind is HoldKind.OVERRIDE for hold in holds) for holds in (present, wanted))
    if is_now and not was:
        record(chain=world.id, kind="strategy.deactivated", act=act, subject=key.text)
        if key not in members_of(world.id, world.generation):
            start_cool_down(world=world, key=key, now=act.now)
        drop_members(world=world, keys=[key], cause=ChangeReason.OPERATOR, act=act)
    if was and not is_now:
        record(chain=world.id, kind="strategy.reactivated", act=act, subject=key.text)


def _facts(row: OverrideRow | None, holds: frozenset[Hold]) -> dict[str, object] | None:
    if row is None:
        return None
    owners = {hold.owner for hold in holds}
    return {
        "cap": row.cap,
        "freeze": FREEZE_OWNER in owners,
        "drain": DRAIN_OWNER in owners,
        "expires_at": row.expires_at.isoformat() if row.expires_at else None,
        "stays_closed": row.stays_closed,
    }
