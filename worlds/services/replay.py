"""The stepped clock of replay worlds: history passes when somebody says so, and never backwards."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from audit.recorder import record
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.lifecycle.calendar import Calendar
from strategies.services.currency import refresh_world_currency
from worlds.models import World
from worlds.services.changes import announce, locked_world
from worlds.services.freshness import freshness_rule
from worlds.services.projection import project_after_commit
from worlds.services.run_rows import compiled


@transaction.atomic
def step_clock(*, world_id: str, to: datetime, act: Act) -> World:
    """Let a replay world's time be ``to`` (aware, later than before); slots up to it fall due.

    Raises:
        InputInvalidError: the world is no replay, or its clock would not move forward.
    """
    act.require("world.edit", world_id)
    world = locked_world(world_id)
    if world.mode != World.Mode.REPLAY:
        raise InputInvalidError(field="world_id", reason="must be a world in replay mode; others go by real time")
    if world.replay_now is not None and to <= world.replay_now:
        raise InputInvalidError(field="to", reason=f"must be after {world.replay_now.isoformat()}")
    before = world.replay_now
    world.replay_now = to
    world.save(update_fields=["replay_now"])
    refresh_world_currency(world_id=world.id, rule=freshness_rule(world), seen_until=_last_close(world, to))
    project_after_commit(world_id=world.id)
    announce(world, kind="world_updated", payload={"replay_now": to.isoformat()}, now=act.now)
    record(
        chain=world.id,
        kind="world.updated",
        act=act,
        before={"replay_now": before.isoformat() if before else None},
        after={"replay_now": to.isoformat()},
    )
    return world


def _last_close(world: World, to: datetime) -> datetime:
    """Return the last close that the replayed time has passed; before any, and without a policy, that time itself."""
    if world.policy is None:
        return to
    return Calendar.load(compiled(world.policy).document.metrics.calendar).last_complete_close(to) or to
