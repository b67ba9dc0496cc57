"""The level of a gate as somebody sets it, until a time or until taken back: a hold of its own among the others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from django.db import OperationalError, transaction
from django.db.models import QuerySet

from audit.recorder import record
from qmtl_worlds.contracts.activation import GateLevel
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import InputInvalidError, PermissionDeniedError
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.lifecycle.holds import HoldKind
from worlds.models import GateHold, World
from worlds.services.changes import announce, locked_world
from worlds.services.kills import allow_flattening, is_killed
from worlds.services.projection import project_after_commit

OWNER: Final = "gate"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GateSetting:
    """What a gate is set to; ``key`` None means the whole world, ``expires_at`` None until it is set again."""

    level: GateLevel
    key: InstanceKey | None = None
    expires_at: datetime | None = None

    @property
    def scope(self) -> str:
        """Return the scope of the hold."""
        return self.key.text if self.key else ""


@transaction.atomic
def set_gate(*, world_id: str, setting: GateSetting, act: Act) -> World:
    """Set the level; open lifts only what was set here, and reduce_only on a kill lets orders through that reduce risk.

    Raises:
        PermissionDeniedError: the actor may not close, or may not loosen what was set.
        InputInvalidError: the expiry is past, or of an open gate.
    """
    strategy_id = setting.key.strategy_id if setting.key else None
    act.require("gate.close", world_id, strategy_id=strategy_id)
    if setting.key is None and act.grants.strategies is not None:
        raise PermissionDeniedError(act.actor, permission="gate.close")
    _check_expiry(setting, act)
    world = locked_world(world_id)
    if setting.level is GateLevel.REDUCE_ONLY and is_killed(world_id=world_id, scope=setting.scope):
        return allow_flattening(world_id=world_id, scope=setting.scope, act=act)
    row = _holds(world, setting.scope).first()
    before = _facts(row)
    if before == {"level": setting.level.value, "expires_at": _text(setting.expires_at)}:
        return world
    if row is not None and not _is_stricter(setting, row):
        act.require("gate.reopen", world_id, strategy_id=strategy_id)
    after = _store(world, row, setting, act)
    _tell(world, "gate.set", setting.scope, act, before=before, after=_facts(after))
    return world


def expire_gates(*, act: Act) -> None:
    """Take away what was set until a time that has come."""
    due = GateHold.objects.filter(kind=HoldKind.FREEZE.value, owner=OWNER, expires_at__lte=act.now)
    for world_id, scope in list(due.values_list("world_id", "scope")):
        try:
            _expire(world_id=world_id, scope=scope, act=act)
        except OperationalError as error:  # somebody holds the world's lock
            _log.warning("gate_expiry_postponed", world_id=world_id, detail=str(error))


@transaction.atomic
def _expire(*, world_id: str, scope: str, act: Act) -> None:
    world = locked_world(world_id, alive=False)
    row = _holds(world, scope).filter(expires_at__lte=act.now).first()
    if row is not None:
        before = _facts(row)
        row.delete()
        _tell(world, "gate.hold_released", scope, act, before=before, after=_facts(None))


def _store(world: World, row: GateHold | None, setting: GateSetting, act: Act) -> GateHold | None:
    if setting.level is GateLevel.OPEN:
        if row is not None:
            row.delete()
        return None
    row = row or GateHold(world=world, scope=setting.scope, kind=HoldKind.FREEZE.value, owner=OWNER)
    row.level, row.reason, row.expires_at = setting.level.value, act.reason, setting.expires_at
    row.placed_by, row.placed_at = act.actor, act.now
    row.save()
    return row


def _tell(
    world: World, kind: str, scope: str, act: Act, *, before: dict[str, object], after: dict[str, object]
) -> None:
    announce(world, kind="activation_updated", payload={"gate": after["level"], "scope": scope}, now=act.now)
    project_after_commit(world_id=world.id)
    record(chain=world.id, kind=kind, act=act, subject=scope or world.id, before=before, after=after)


def _holds(world: World, scope: str) -> QuerySet[GateHold]:
    return GateHold.objects.filter(world=world, scope=scope, kind=HoldKind.FREEZE.value, owner=OWNER)


def _check_expiry(setting: GateSetting, act: Act) -> None:
    if setting.expires_at is None:
        return
    if setting.level is GateLevel.OPEN:
        raise InputInvalidError(field="expires_at", reason="is for a level that closes")
    if setting.expires_at <= act.now:
        raise InputInvalidError(field="expires_at", reason="must be in the future")


def _is_stricter(setting: GateSetting, row: GateHold) -> bool:
    """Tell whether nothing of what was set is loosened: neither the level nor for how long."""
    level = setting.level.strictness >= GateLevel(row.level).strictness
    longer = setting.expires_at is None or (row.expires_at is not None and setting.expires_at >= row.expires_at)
    return level and longer


def _facts(row: GateHold | None) -> dict[str, object]:
    if row is None:
        return {"level": GateLevel.OPEN.value, "expires_at": None}
    return {"level": row.level, "expires_at": _text(row.expires_at)}


def _text(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
