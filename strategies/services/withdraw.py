"""Take instances out of a world; their history stays."""

from __future__ import annotations

from django.db import transaction

from audit.recorder import record
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import StrategyNotFoundError
from qmtl_worlds.contracts.ids import InstanceKey, Side
from strategies.models import StrategyInstance
from strategies.services.revision import stamp_register


@transaction.atomic
def withdraw_strategy(
    *, world_id: str, strategy_id: str, side: Side | None = None, act: Act
) -> tuple[InstanceKey, ...]:
    """Unbind a strategy, both sides of it where none is named, and return the instances that left.

    This is the part of unbinding that the register does; the caller closes their gates in the same transaction.

    Raises:
        StrategyNotFoundError: nothing of that name is bound.
    """
    bound = StrategyInstance.objects.filter(world_id=world_id, strategy_id=strategy_id, withdrawn_at=None)
    if side is not None:
        bound = bound.filter(side=side.value)
    leaving = list(bound.select_for_update(no_key=True).order_by("id"))
    if not leaving:
        raise StrategyNotFoundError(world_id, strategy_id, None if side is None else side.value)
    for instance in leaving:
        instance.withdrawn_at = act.now
        instance.save(update_fields=["withdrawn_at"])
        record(chain=world_id, kind="strategy.unbound", act=act, subject=instance.key.text)
    stamp_register(world_id=world_id)
    return tuple(instance.key for instance in leaving)
