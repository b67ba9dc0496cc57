"""Members that may not trade any more: a hold at once, and a reduce run that takes them out of the set."""

from __future__ import annotations

from collections.abc import Iterable

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.plans import ChangeReason, TransitionPlan, active_set
from qmtl_worlds.lifecycle.holds import HoldKind, make_hold
from worlds.models import ApplyRun, World
from worlds.selectors import members_of, policy_in_force, set_of
from worlds.services.changes import announce
from worlds.services.holds import place_hold
from worlds.services.projection import project_after_commit
from worlds.services.runs import NewRun, create_reduce_run


def withdraw_members(*, world: World, keys: Iterable[InstanceKey], act: Act) -> None:
    """Close the gates of those of ``keys`` that are active, and start the run that drops them.

    The caller holds the world's lock; nothing waits for approval, since this only takes away.
    """
    members = members_of(world.id, world.generation)
    leaving = sorted(key for key in keys if key in members)
    for key in leaving:
        hold = make_hold(HoldKind.WITHDRAWN, key.text, key=key)
        place_hold(world=world, hold=hold, act=act)
    drop_members(world=world, keys=leaving, cause=ChangeReason.WITHDRAWN, act=act)


def drop_members(*, world: World, keys: Iterable[InstanceKey], cause: ChangeReason, act: Act) -> ApplyRun | None:
    """Start the reduce run that takes those of ``keys`` that are active out of the set; None where none is.

    The caller holds the world's lock and has put a hold on each: from that on no order of theirs increases risk, and
    their cool-down counts from it.
    """
    members = members_of(world.id, world.generation)
    leaving = sorted(key for key in keys if key in members)
    if not leaving:
        return None
    before = set_of(members)
    policy = policy_in_force(world)
    plan = TransitionPlan(
        world_id=world.id,
        base_generation=world.generation,
        policy_checksum=policy.checksum,
        before=before,
        after=active_set({key: weight for key, weight in before.weights.items() if key not in leaving}),
        reasons=tuple((key, cause) for key in leaving),
    )
    payload = {_PAYLOADS.get(cause, cause.value): [key.text for key in leaving]}
    sequence = announce(world, kind="activation_updated", payload=payload, now=act.now)
    run_id = f"{_PREFIXES.get(cause, cause.value)}:{world.generation}.{sequence}"
    run = create_reduce_run(new=NewRun(world, run_id, plan, policy), act=act)
    project_after_commit(world_id=world.id)
    return run


_PAYLOADS = {ChangeReason.OPERATOR: "deactivated"}
_PREFIXES = {ChangeReason.WITHDRAWN: "withdraw", ChangeReason.KILLED: "kill", ChangeReason.OPERATOR: "deactivate"}
