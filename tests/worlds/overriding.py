"""What tests of overrides do again and again."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User

from audit.models import AuditEvent
from qmtl_worlds.contracts.activation import ActivationEnvelope
from qmtl_worlds.contracts.ids import InstanceKey
from tests.worlds.factories import act_of
from tests.worlds.steps import GOOD
from worlds.models import Override, Reopening, World
from worlds.services.activation import activation_of
from worlds.services.authority import act_of_system
from worlds.services.overrides import Overridden, OverrideRequest, expire_overrides, set_override
from worlds.services.reopenings import grant
from worlds.stores.clock import database_now

OUT = OverrideRequest(GOOD, active=False)
CAPPED = OverrideRequest(GOOD, active=True, weight=0.1)
BACK = OverrideRequest(GOOD, active=True)


def lay(world: World, user: User, request: OverrideRequest) -> Overridden:
    return set_override(world_id=world.id, request=request, act=act_of(user, reason="bad fills"))


def allow(world: World, user: User, waits: Reopening | None) -> Reopening:
    assert waits is not None
    now = database_now()
    return grant(world_id=world.id, reopening_id=waits.pk, reauthenticated_at=now, act=act_of(user))


def answer(world: World, key: InstanceKey = GOOD) -> ActivationEnvelope:
    return activation_of(world_id=world.id, key=key).envelope


def expire(world: World) -> None:
    Override.objects.filter(world=world).update(expires_at=database_now() - timedelta(seconds=1))
    expire_overrides(act=act_of_system(reason="tick"))


def kinds_about(key: InstanceKey) -> list[str]:
    told = AuditEvent.objects.filter(subject=key.text).exclude(kind="strategy.bound")
    return list(told.order_by("seq").values_list("kind", flat=True))
