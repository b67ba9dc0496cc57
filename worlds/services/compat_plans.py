"""Plans that a client of a compatibility world names by hand: any bound instance, within the policy's budgets."""

from __future__ import annotations

from collections.abc import Iterable

from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.plans import ChangeReason, TransitionPlan, active_set
from strategies.models import StrategyInstance
from worlds.models import PolicyVersion, World
from worlds.selectors import content_of
from worlds.services.run_rows import compiled


def free_plan(
    *,
    world: World,
    policy: PolicyVersion,
    activate: Iterable[InstanceKey],
    deactivate: Iterable[InstanceKey],
    weight: float | None,
) -> TransitionPlan:
    """Return the plan from the present set to the named one; ``weight`` is for who comes in, a slot's where absent.

    Whoever is not active is not missed among ``deactivate``: a client that sends the same plan twice means it once.

    Raises:
        InputInvalidError: an instance is named twice, or is not bound.
    """
    before = content_of(world.id, world.generation)
    after, leaving = dict(before.weights), frozenset(deactivate)
    bound = _bound(world)
    for key in activate:
        if key in leaving:
            raise InputInvalidError(field="plan", reason=f"names {key.text} on both sides")
        if key not in bound:
            raise InputInvalidError(field="plan.activate", reason=f"{key.text} is not bound to this world")
        if weight is not None or key not in after:
            after[key] = compiled(policy).slot_weight(key.side) if weight is None else weight
    for key in leaving:
        after.pop(key, None)
    gone = sorted(before.weights.keys() - after.keys())
    reasons = tuple((key, ChangeReason.OPERATOR) for key in gone)
    return TransitionPlan(world.id, world.generation, policy.checksum, before, active_set(after), reasons)


def _bound(world: World) -> frozenset[InstanceKey]:
    current = StrategyInstance.objects.filter(world=world, withdrawn_at=None, wanted=True)
    return frozenset(instance.key for instance in current)
