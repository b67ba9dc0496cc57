"""Say which of the bound strategies are wanted as candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from audit.recorder import record
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.ids import InstanceKey, check_object_id
from strategies.models import Roster, StrategyInstance
from strategies.selectors import get_roster
from strategies.services.revision import ensure_head, stamp_register


@dataclass(frozen=True, slots=True)
class RosterChange:
    """The roster as stored, and the bound instances that it lets in and leaves out from now on."""

    strategies: tuple[str, ...]
    joined: tuple[InstanceKey, ...]
    left: tuple[InstanceKey, ...]


@transaction.atomic
def set_roster(*, world_id: str, strategies: Sequence[str], act: Act) -> RosterChange:
    """Replace the roster; order is kept and repeats drop out.

    It may name strategies that are not bound yet: they are wanted once they are. The caller closes the gates of those
    that ``left`` in the same transaction; their history and params stay.

    Raises:
        InputInvalidError: a strategy id is malformed.
    """
    names = tuple(dict.fromkeys(strategies))
    for index, name in enumerate(names):
        check_object_id(name, field=f"strategies[{index}]")
    ensure_head(world_id=world_id)
    before = get_roster(world_id)
    joined, left = _mark_wanted(world_id, frozenset(names))
    if joined or left:
        stamp_register(world_id=world_id)
    if before != names:
        Roster.objects.update_or_create(
            world_id=world_id, defaults={"strategies": list(names), "set_by": act.actor, "set_at": act.now}
        )
        told = None if before is None else list(before)
        record(chain=world_id, kind="roster.replaced", act=act, before=told, after=list(names))
    return RosterChange(names, joined, left)


def _mark_wanted(world_id: str, names: frozenset[str]) -> tuple[tuple[InstanceKey, ...], tuple[InstanceKey, ...]]:
    bound = StrategyInstance.objects.filter(world_id=world_id, withdrawn_at=None).order_by("id")
    joined: list[StrategyInstance] = []
    left: list[StrategyInstance] = []
    for instance in bound.select_for_update(no_key=True):
        if instance.wanted != (instance.strategy_id in names):
            (left if instance.wanted else joined).append(instance)
    for instances, wanted in ((joined, True), (left, False)):
        StrategyInstance.objects.filter(pk__in=[instance.pk for instance in instances]).update(wanted=wanted)
    return tuple(instance.key for instance in joined), tuple(instance.key for instance in left)
