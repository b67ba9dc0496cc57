"""The real side of what closes and opens: overrides, waits for flat positions, the circuit, a suspended world."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.ids import InstanceKey
from tests.faults.stateful_clock import Clock
from tests.faults.stateful_layers import Laying
from tests.faults.stateful_rows import WORLD
from tests.worlds.factories import shell
from worlds.models import Reopening
from worlds.selectors import get_world
from worlds.services import circuit_reset, equity, flat, kills, overrides, reopenings, suspension
from worlds.services.reopening_requests import Asked
from worlds.stores.clock import database_now

RUNNER = "runner-1"


class ActsOf(Protocol):
    """Makes the act of somebody by name."""

    def __call__(self, actor: str) -> Act:
        """Return the act."""
        ...


class ClosingServices:
    """Every act of ``Reopenings``, ``Layers`` and ``Halts``, by the verb that the product has for it."""

    _act: ActsOf
    _clock: Clock

    def kill(self, actor: str, key: InstanceKey | None) -> str:
        kills.kill(world_id=WORLD, scope=key.text if key else "", act=self._act(actor))
        return "ok"

    def allow_flattening(self, actor: str, key: InstanceKey | None) -> str:
        kills.allow_flattening(world_id=WORLD, scope=key.text if key else "", act=self._act(actor))
        return "ok"

    def lift(self, actor: str, key: InstanceKey | None) -> str:
        scope = key.text if key else ""
        standing = kills.standing_kills(world_id=WORLD, scope=scope)
        asked = Asked(WORLD, Reopening.Subject.KILL, scope, standing)
        reopenings.ask(asked=asked, reauthenticated_at=database_now(), act=self._act(actor))
        return "ok"

    def grant(self, number: int, actor: str) -> str:
        reopenings.grant(
            world_id=WORLD, reopening_id=_pk(number), reauthenticated_at=database_now(), act=self._act(actor)
        )
        return "ok"

    def reject(self, number: int, actor: str) -> str:
        reopenings.reject(world_id=WORLD, reopening_id=_pk(number), act=self._act(actor))
        return "ok"

    def override(self, actor: str, key: InstanceKey, laying: Laying) -> str:
        request = overrides.OverrideRequest(
            key,
            laying.active,
            weight=laying.weight,
            freeze=laying.freeze,
            expires_at=self._clock.now + timedelta(seconds=laying.seconds) if laying.seconds else None,
        )
        overrides.set_override(world_id=WORLD, request=request, act=self._act(actor))
        return "ok"

    def acknowledge(self, keys: tuple[InstanceKey, ...], behind: int) -> str:
        heard = max(0, get_world(WORLD).sequence - behind)
        flat.acknowledge(world_id=WORLD, said=flat.Acknowledgement(RUNNER, heard, flat=keys), act=shell())
        return "ok"

    def value(self, worth: float) -> str:
        equity.push_equity(world_id=WORLD, snapshots=[equity.Snapshot(self._clock.now, worth)], act=shell())
        return "ok"

    def reset(self, actor: str, mark: str) -> str:
        act = self._act(actor)
        circuit_reset.request_reset(world_id=WORLD, high_water_mark=mark, reauthenticated_at=act.now, act=act)
        return "ok"

    def suspend(self, actor: str) -> str:
        suspension.suspend_world(world_id=WORLD, act=self._act(actor))
        return "ok"

    def take_up(self, actor: str) -> str:
        suspension.take_up_world(world_id=WORLD, act=self._act(actor))
        return "ok"


def _pk(number: int) -> int:
    """Return the id of the history's request of that number: ids go on where an earlier history was taken back."""
    return int(Reopening.objects.filter(world_id=WORLD).order_by("id").values_list("id", flat=True)[number - 1])
