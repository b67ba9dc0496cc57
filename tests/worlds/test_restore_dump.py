"""A real restore: the database is copied, goes on, and is copied back, while Runners remember (F28)."""

from __future__ import annotations

import time

import pytest
import redis
from django.contrib.auth.models import User

from qmtl_worlds.sdk.gate import OrderGate
from qmtl_worlds.sdk.permission import ActivationReading
from tests import database
from tests.worlds.factories import act_of, shell
from tests.worlds.steps import GOOD, first_apply
from worlds.models import World
from worlds.services.activation import activation_of
from worlds.services.holds import freeze, unfreeze
from worlds.services.projection import project_world
from worlds.services.relay import relay_outbox
from worlds.services.restore import fence_world, lift_boot
from worlds.services.tick_memory import Memory
from worlds.stores.redis_projection import read_copy
from worlds.work.tick import tick

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


class Rows:
    """Answers a gate from the rows, as the server does."""

    def activation(
        self,
        world_id: str,
        strategy_id: str,  # noqa: ARG002 - always the same instance
        side: str,  # noqa: ARG002
        *,
        known_etag: str | None = None,  # noqa: ARG002 - always answers in full
        client_id: str | None = None,  # noqa: ARG002
    ) -> ActivationReading:
        sent = time.monotonic()
        return ActivationReading(activation_of(world_id=world_id, key=GOOD).envelope, 60_000, sent)

    def close(self) -> None:
        """Hold no connection."""


def runner() -> OrderGate:
    return OrderGate(Rows(), world_id="w1", strategy_id="good", sides=["long"], monotonic=time.monotonic)


def opens(gate: OrderGate) -> bool:
    """Tell whether one more answer lets a new order through, by that answer's own lease."""
    gate.poll()
    return gate.check("long", reduces=False).allowed


def toggle(world: World, alice: User, times: int) -> None:
    for _ in range(times):
        freeze(world_id=world.id, act=act_of(alice))
        unfreeze(world_id=world.id, act=act_of(alice))


def test_readers_that_remember_stay_closed_until_the_fence_and_then_follow(
    world: World, alice: User, bob: User, redis_client: redis.Redis
) -> None:
    first_apply(world, alice, bob)
    with database.saved_copy() as restore_backup:
        toggle(world, alice, 3)
        freeze(world_id=world.id, act=act_of(alice))  # the last word before the disaster: closed
        relay_outbox()
        old = runner()
        before = opens(old)
        restore_backup()

        after_restore = opens(old)
        tick(Memory())
        suspected = opens(old), opens(runner())
        fence_world(world_id=world.id, act=shell())
        fenced = opens(old), opens(runner())
        lift_boot(world_id=world.id, act=shell())
        lifted = opens(old), opens(runner())

    assert not before
    assert not after_restore  # the backup says open, at a position that the Runner has left behind
    assert suspected == (False, False)
    assert fenced == (False, False)
    assert lifted == (True, True)
    assert project_world(world_id=world.id)
    copy = read_copy(world.id)
    assert copy is not None
    assert copy.entries["good|long"]["active"]
