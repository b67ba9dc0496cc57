"""Reads of the control plane, as frozen values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count

from audit.chain import kill_chain
from audit.models import AuditEvent, AuditHead, AuditRun, AuditRunState
from qmtl_worlds.contracts.errors import (
    GenerationNotFoundError,
    PolicyNotFoundError,
    RunNotFoundError,
    WorldNotFoundError,
)
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.contracts.plans import EMPTY_SET, ActiveSet, active_set
from qmtl_worlds.contracts.states import EXCLUSIVE_STATES, OpState
from qmtl_worlds.lifecycle.world import op_state
from strategies.models import StrategyInstance
from worlds.models import ActivationSet, ApplyRun, GateHold, Override, Pin, PolicyVersion, World
from worlds.stores.world_rows import Member, read_entries, read_weights


@dataclass(frozen=True, slots=True)
class WorldFilter:
    """Which worlds are asked for; ``ids`` None and empty texts mean all."""

    ids: frozenset[str] | None = None
    owner: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class Generation:
    """One committed set, without its members."""

    number: int
    content_hash: str
    run_id: str
    entry_count: int
    created_at: datetime


def get_world(world_id: str) -> World:
    """Return the world with its policy in force.

    Raises:
        WorldNotFoundError: there is none of that id.
    """
    world = World.objects.select_related("policy").filter(id=world_id).first()
    if world is None:
        raise WorldNotFoundError(world_id)
    return world


def list_worlds(*, wanted: WorldFilter, after: str = "", limit: int = 100) -> tuple[World, ...]:
    """List worlds by id, those behind ``after``."""
    worlds = World.objects.select_related("policy").filter(id__gt=after).order_by("id")
    if wanted.ids is not None:
        worlds = worlds.filter(id__in=wanted.ids)
    if wanted.owner:
        worlds = worlds.filter(owner=wanted.owner)
    if wanted.state:
        worlds = worlds.filter(state=wanted.state)
    return tuple(worlds[:limit])


def op_states_of(world_ids: Iterable[str]) -> dict[str, OpState]:
    """Return what each world is busy with."""
    ids = list(world_ids)
    exclusive = [state.value for state in EXCLUSIVE_STATES]
    applying = set(ApplyRun.objects.filter(world__in=ids, state__in=exclusive).values_list("world_id", flat=True))
    running = AuditRun.objects.filter(world_id__in=ids, state=AuditRunState.RUNNING).order_by()
    evaluating = set(running.values_list("world_id", flat=True))
    return {name: op_state(applying=name in applying, evaluating=name in evaluating) for name in ids}


def get_policy(world_id: str, version: int) -> PolicyVersion:
    """Return one stored version.

    Raises:
        PolicyNotFoundError: there is none of that number.
    """
    policy = PolicyVersion.objects.filter(world_id=world_id, version=version).first()
    if policy is None:
        raise PolicyNotFoundError(world_id, version)
    return policy


def list_policies(world_id: str) -> tuple[PolicyVersion, ...]:
    """List the stored versions, newest first, without their texts."""
    return tuple(PolicyVersion.objects.filter(world_id=world_id).defer("text", "canonical").order_by("-version"))


def list_instances(world_id: str) -> tuple[StrategyInstance, ...]:
    """List the instances that are bound now, in the order in which they were."""
    return tuple(StrategyInstance.objects.filter(world_id=world_id, withdrawn_at=None).order_by("id"))


def list_generations(world_id: str, *, before: int | None = None, limit: int = 100) -> tuple[Generation, ...]:
    """List the committed sets, newest first; ``before`` asks for older ones."""
    sets = ActivationSet.objects.filter(world_id=world_id)
    if before is not None:
        sets = sets.filter(generation__lt=before)
    counted = sets.annotate(count=Count("entries")).order_by("-generation")
    rows = counted.values_list("generation", "content_hash", "run__run_id", "count", "created_at")
    return tuple(Generation(*row) for row in rows[:limit])


def get_generation(world_id: str, number: int) -> Generation:
    """Return one committed set.

    Raises:
        GenerationNotFoundError: the world never had that generation.
    """
    found = list_generations(world_id, before=number + 1, limit=1)
    if not found or found[0].number != number:
        raise GenerationNotFoundError(world_id, number)
    return found[0]


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
    try:
        return (
            ApplyRun.objects.select_related("world", "policy", "evaluation", "reduce_run")
            .defer("evaluation__inputs_json", "evaluation__envelope", "reduce_run__plan")
            .get(world_id=world_id, run_id=run_id)
        )
    except ApplyRun.DoesNotExist as error:
        raise RunNotFoundError(world_id, run_id) from error


def members_of(world_id: str, generation: int) -> dict[InstanceKey, Member]:
    """Return the entries of one generation, by key; generation 0 is empty.

    Raises:
        GenerationNotFoundError: the world never had that generation.
    """
    if generation == 0:
        return {}
    members = read_entries(world_id, generation)
    if not members:
        _check_generation(world_id, generation)
    return {member.key: member for member in members}


def content_of(world_id: str, generation: int) -> ActiveSet:
    """Return who is in at what weight in one generation; generation 0 is empty.

    Raises:
        GenerationNotFoundError: the world never had that generation.
    """
    if generation == 0:
        return EMPTY_SET
    weights = read_weights(world_id, generation)
    if not weights:
        _check_generation(world_id, generation)
    return active_set(weights)


def set_of(members: Mapping[InstanceKey, Member]) -> ActiveSet:
    """Return who is in at what weight."""
    return active_set({key: member.weight for key, member in members.items()}) if members else EMPTY_SET


def holds_of(world_id: str, *, scope: str | None = None) -> tuple[GateHold, ...]:
    """Return the world's holds; with ``scope``, those of the whole world and of that instance."""
    holds = GateHold.objects.filter(world_id=world_id)
    if scope is not None:
        holds = holds.filter(scope__in=["", scope])
    return tuple(holds)


def overrides_of(world_id: str) -> tuple[Override, ...]:
    """Return what operators laid over the world's instances, by instance."""
    return tuple(Override.objects.filter(world_id=world_id))


def find_override(world_id: str, scope: str) -> Override | None:
    """Return what operators laid over one instance, None for nothing; ``scope`` is its key."""
    return Override.objects.filter(world_id=world_id, scope=scope).first()


def find_pin(world_id: str) -> Pin | None:
    """Return what pins the world's set, None where nothing does."""
    return Pin.objects.filter(world_id=world_id).first()


def fenced_total(world_id: str) -> int:
    """Return how many workers of the world came back to a run that another one had taken over."""
    return AuditEvent.objects.filter(chain=world_id, kind="apply.fenced").count()


def position_of(world: World) -> Position:
    """Return where in its order of visible states the world is; a kill counts in its own chain."""
    kills = AuditHead.objects.filter(chain=kill_chain(world.id)).values_list("seq", flat=True).first()
    return Position(world.incarnation, world.sequence, kills or 0)


def positions_of(worlds: Iterable[World]) -> dict[str, Position]:
    """Return the position of each world, in one query for all."""
    chains = {kill_chain(world.id): world for world in worlds}
    kills = dict(AuditHead.objects.filter(chain__in=chains).values_list("chain", "seq"))
    return {
        world.id: Position(world.incarnation, world.sequence, kills.get(chain, 0)) for chain, world in chains.items()
    }


def _check_generation(world_id: str, generation: int) -> None:
    if not ActivationSet.objects.filter(world=world_id, generation=generation).exists():
        raise GenerationNotFoundError(world_id, generation)
