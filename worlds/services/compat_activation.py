"""``PUT activation`` with ``active: true``, which only a compatibility world carries out by itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import transaction

from qmtl_worlds.contracts.acts import READ, Act
from qmtl_worlds.contracts.digests import digest
from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.lifecycle.override import NO_CAP, Override
from worlds.models import World
from worlds.selectors import find_override, members_of
from worlds.services.apply import ApplyRequest, request_apply
from worlds.services.changes import locked_world
from worlds.services.override_rows import lift_override, put_override

TOLERANCE: Final = 1e-12
RETRY_SECONDS: Final = 60
"""The same wish again within a minute is a retry, and starts nothing new."""


@dataclass(frozen=True, slots=True)
class ActivationWish:
    """What a client wants of one instance; without ``weight`` a new member gets a slot's."""

    key: InstanceKey
    weight: float | None = None
    freeze: bool = False
    drain: bool = False


@transaction.atomic
def lift_layers(*, world_id: str, wish: ActivationWish, act: Act) -> bool:
    """Take away what keeps the instance out, or lay over it what is wished; tell whether the set must change as well.

    Raises:
        InputInvalidError: the weight is no share above 0, or the world is no compatibility world.
        StrategyNotFoundError: the actor's token does not cover the strategy.
    """
    act.require(READ, world_id, strategy_id=wish.key.strategy_id)
    act.require("apply.request", world_id)
    if wish.weight is not None and not 0 < wish.weight <= 1:
        raise InputInvalidError(field="weight", reason="must be in (0, 1] where active is true")
    world = locked_world(world_id)
    if not world.compat:
        raise InputInvalidError(field="active", reason="needs a plan: this world is not for QMTL clients")
    member = members_of(world.id, world.generation).get(wish.key)
    applied = member.weight if member else 0.0
    capped = wish.weight is not None and 0 < wish.weight < applied - TOLERANCE
    _lay(world, wish, cap=wish.weight if capped and wish.weight is not None else NO_CAP, act=act)
    return not applied or (wish.weight is not None and wish.weight > applied + TOLERANCE)


def request_membership(*, world_id: str, wish: ActivationWish, evaluation_run_id: str, act: Act) -> None:
    """Ask for the plan that brings the instance in; it goes through the same machine as every other.

    Raises:
        InputInvalidError: the instance is not bound, or the set would break a budget.
        WorldBusyError: another increase is under way.
    """
    request = ApplyRequest(
        _run_id(world_id, wish, act.now), evaluation_run_id, activate=(wish.key,), deactivate=(), weight=wish.weight
    )
    request_apply(world_id=world_id, request=request, act=act)


def _lay(world: World, wish: ActivationWish, *, cap: float, act: Act) -> None:
    wanted = Override(wish.key, cap, freeze=wish.freeze, drain=wish.drain)
    row = find_override(world.id, wish.key.text)
    if wanted.takes_away:
        put_override(world=world, override=wanted, kind="override.set", act=act)
    elif row is not None:
        lift_override(world=world, row=row, kind="override.lifted", act=act)


def _run_id(world_id: str, wish: ActivationWish, now: datetime) -> str:
    """Name the run by the wish and the minute, so that a retry is the same request."""
    minute = int(now.timestamp()) // RETRY_SECONDS
    return f"put:{digest([world_id, wish.key.text, wish.weight, minute]).removeprefix('sha256:')[:32]}"
