"""Reads of the control plane, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from audit.chain import kill_chain
from audit.models import AuditHead
from qmtl_worlds.contracts.errors import (
    GenerationNotFoundError,
    PolicyNotFoundError,
    RunNotFoundError,
    WorldNotFoundError,
)
from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.contracts.plans import EMPTY_SET, ActiveSet, active_set
from worlds.models import ActivationEntry, ActivationSet, ApplyRun, GateHold, PolicyVersion, World


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of an active set: which instance, how much, since when, on which evaluation's word."""

    instance_id: int
    key: InstanceKey
    weight: float
    promoted_at: datetime
    evaluation_run_id: str
    fresh_until: datetime | None
    withdrawn_at: datetime | None


def get_world(world_id: str) -> World:
    """Return the world with its policy in force.

    Raises:
        WorldNotFoundError: there is none of that id.
    """
    world = World.objects.select_related("policy").filter(id=world_id).first()
    if world is None:
        raise WorldNotFoundError(world_id)
    return world


def policy_in_force(world: World) -> PolicyVersion:
    """Return the version that decides.

    Raises:
        PolicyNotFoundError: none is in force.
    """
    if world.policy is None:
        raise PolicyNotFoundError(world.id)
    return world.policy


def get_apply_run(world_id: str, run_id: str) -> ApplyRun:
    """Return an apply run with what it rests on.

    Raises:
        RunNotFoundError: the world has no such run.
    """
    run = (
        ApplyRun.objects.select_related("world", "policy", "evaluation", "reduce_run")
        .filter(world_id=world_id, run_id=run_id)
        .first()
    )
    if run is None:
        raise RunNotFoundError(world_id, run_id)
    return run


def members_of(world_id: str, generation: int) -> dict[InstanceKey, Member]:
    """Return the entries of one generation, by key; generation 0 is empty.

    Raises:
        GenerationNotFoundError: the world never had that generation.
    """
    if generation == 0:
        return {}
    current = ActivationSet.objects.filter(world_id=world_id, generation=generation).first()
    if current is None:
        raise GenerationNotFoundError(world_id, generation)
    rows = ActivationEntry.objects.filter(set=current).values_list(
        "instance_id",
        "instance__strategy_id",
        "instance__side",
        "weight",
        "promoted_at",
        "evaluation_run_id",
        "instance__fresh_until",
        "instance__withdrawn_at",
    )
    members = [Member(row[0], InstanceKey(row[1], Side(row[2])), *row[3:]) for row in rows]
    return {member.key: member for member in members}


def set_of(members: Mapping[InstanceKey, Member]) -> ActiveSet:
    """Return who is in at what weight."""
    return active_set({key: member.weight for key, member in members.items()}) if members else EMPTY_SET


def holds_of(world_id: str, *, scope: str | None = None) -> tuple[GateHold, ...]:
    """Return the world's holds; with ``scope``, those of the whole world and of that instance."""
    holds = GateHold.objects.filter(world_id=world_id)
    if scope is not None:
        holds = holds.filter(scope__in=["", scope])
    return tuple(holds)


def position_of(world: World) -> Position:
    """Return where in its order of visible states the world is; a kill counts in its own chain."""
    kills = AuditHead.objects.filter(chain=kill_chain(world.id)).values_list("seq", flat=True).first()
    return Position(world.incarnation, world.sequence, kills or 0)
