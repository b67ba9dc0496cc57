"""Members that may not trade any more: a hold at once, and a reduce run that takes them out of the set."""

from __future__ import annotations

from collections.abc import Iterable

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.plans import ChangeReason, TransitionPlan, active_set
from qmtl_worlds.lifecycle.holds import HoldKind, make_hold
from worlds.models import World
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
    if not leaving:
        return
    for key in leaving:
        hold = make_hold(HoldKind.WITHDRAWN, key.text, key=key)
        place_hold(world=world, hold=hold, act=act)
    before = set_of(members)
    policy = policy_in_force(world)
    plan = TransitionPlan(
        world_id=world.id,
        base_generation=world.generation,
        policy_checksum=policy.checksum,
        before=before,
        after=active_set({key: weight for key, weight in before.weights.items() if key not in leaving}),
        reasons=tuple((key, ChangeReason.WITHDRAWN) for key in leaving),
    )
    sequence = announce(world, kind="activation_updated", payload={"withdrawn": [k.text for k in leaving]}, now=act.now)
    create_reduce_run(new=NewRun(world, f"withdraw:{world.generation}.{sequence}", plan, policy), act=act)
    project_after_commit(world_id=world.id)
