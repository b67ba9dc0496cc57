"""Commit active sets: immutable, numbered, and traceable to the run and the evaluation that chose each member."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import PlanStaleError
from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.plans import ActiveSet
from qmtl_worlds.contracts.states import RunState
from qmtl_worlds.failpoints import reach
from qmtl_worlds.lifecycle.holds import HoldKind
from strategies.models import StrategyInstance
from worlds.models import ActivationSet, ApplyRun, Demotion, GateHold, World
from worlds.selectors import members_of
from worlds.stores.clock import world_now
from worlds.stores.world_rows import Member, insert_entries, read_holds


def commit_set(*, world: World, run: ApplyRun, content: ActiveSet, act: Act) -> ActivationSet:
    """Make ``content`` the world's next generation; the caller holds the world's lock.

    Members that stay keep the time and the evaluation that brought them in; the cool-down of those that leave starts.

    Raises:
        PlanStaleError: a newcomer is not bound any more.
    """
    before = members_of(world.id, world.generation)
    at = world_now(world, now=act.now)
    newcomers = _instances(world, frozenset(content.weights.keys() - before.keys()))
    world.generation += 1
    World.objects.filter(id=world.id).update(generation=world.generation)
    committed = ActivationSet.objects.create(
        world=world, generation=world.generation, content_hash=content.content_hash, run=run, created_at=act.now
    )
    reach("switch.set_inserted")
    arrivals = _arrivals(world, run, newcomers, at)
    members = arrivals | before
    if gone := sorted(content.weights.keys() - members.keys()):
        raise PlanStaleError(f"{gone[0].text} is not bound any more; evaluate again.", key=gone[0].text)
    insert_entries(committed.pk, ((members[key], weight) for key, weight in content.weights.items()))
    reach("switch.entries_inserted")
    left = {member: at for key, member in before.items() if key not in content.weights}
    _start_cool_downs(left | _held_since(world, left))
    _lift_withdrawals(world, content)
    return committed


def start_cool_down(*, world: World, key: InstanceKey, now: datetime) -> None:
    """Count an instance that may not come in as having left at ``now`` (the database's), so that it begins anew."""
    at = world_now(world, now=now)
    for instance in _instances(world, frozenset({key})).values():
        Demotion.objects.update_or_create(instance_id=instance, defaults={"demoted_at": at})


def _arrivals(
    world: World, run: ApplyRun, newcomers: dict[InstanceKey, int], at: datetime
) -> dict[InstanceKey, Member]:
    """Return who comes in, on the word of the evaluation that chose it.

    In a rollback that is the one which chose it then. A switch that is undone gives back what was, as it was.
    """
    undone = run.state in {RunState.ROLLING_BACK, RunState.HELD}
    origin = members_of(world.id, run.rollback_to) if run.rollback_to is not None else {}
    origin = members_of(world.id, run.base_generation) if undone else origin
    evaluation_run_id = run.evaluation.run_id if run.evaluation else run.run_id
    arrivals = {}
    for key, instance_id in newcomers.items():
        earlier = origin.get(key)
        since = earlier.promoted_at if earlier and undone else at
        chosen_by = earlier.evaluation_run_id if earlier else evaluation_run_id
        arrivals[key] = Member(instance_id, key, 0.0, since, chosen_by, None, None)
    return arrivals


def _instances(world: World, keys: frozenset[InstanceKey]) -> dict[InstanceKey, int]:
    current = StrategyInstance.objects.filter(
        world=world, withdrawn_at=None, strategy_id__in={key.strategy_id for key in keys}
    )
    rows = current.order_by().values_list("strategy_id", "side", "id")
    known = ((InstanceKey(name, Side(side)), instance_id) for name, side, instance_id in rows)
    return {key: instance_id for key, instance_id in known if key in keys}


def _held_since(world: World, left: Collection[Member]) -> dict[Member, datetime]:
    """Return since when those of ``left`` that were withdrawn, killed or deactivated were held: they cool down from it.

    Holds are dated by the database's time, which says nothing in a replay.
    """
    if world.mode == World.Mode.REPLAY or not left:
        return {}
    kinds = [HoldKind.WITHDRAWN.value, HoldKind.KILL.value, HoldKind.OVERRIDE.value]
    holds = GateHold.objects.filter(world=world, kind__in=kinds).exclude(scope="").order_by("-placed_at")
    placed = dict(holds.values_list("scope", "placed_at"))  # of several the first one counts
    return {member: placed[member.key.text] for member in left if member.key.text in placed}


def _lift_withdrawals(world: World, content: ActiveSet) -> None:
    """A withdrawn instance that has left the set needs no hold any more."""
    withdrawn = {hold.scope for hold in read_holds(world.id) if hold.kind == HoldKind.WITHDRAWN}
    if gone := withdrawn - {key.text for key in content.weights}:
        GateHold.objects.filter(world=world, kind=HoldKind.WITHDRAWN.value, scope__in=gone).delete()


def _start_cool_downs(left: Mapping[Member, datetime]) -> None:
    Demotion.objects.bulk_create(
        [Demotion(instance_id=member.instance_id, demoted_at=at) for member, at in left.items()],
        update_conflicts=True,
        update_fields=["demoted_at"],
        unique_fields=["instance"],
    )
