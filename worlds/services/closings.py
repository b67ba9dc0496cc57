"""A closing as its operator sees it: committed is one moment, in effect everywhere another (I1)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from qmtl_worlds.contracts.activation import ActivationReason, GateLevel
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.lifecycle.gate import world_gate
from worlds.models import RunnerSession, World
from worlds.selectors import holds_of
from worlds.services.gate_facts import read_world
from worlds.services.run_rows import timings_of
from worlds.stores.clock import database_now
from worlds.stores.kill_file import filed_kills


@dataclass(frozen=True, slots=True)
class Closing:
    """How far a world's gate is open, since when, and whether that is so everywhere.

    ``committed_at`` is when the level came into force, None for an open gate and where nothing was ever permitted.
    ``effective_at`` is when the last permission from before has died; ``effective`` says that it has. ``acknowledged``
    says that every Runner that is known has told that it heard; None where none is known. It proves nothing, since
    nobody must tell.
    """

    level: GateLevel
    reason: ActivationReason
    committed_at: datetime | None
    effective_at: datetime | None
    effective: bool
    acknowledged: bool | None


def closing_of(*, world_id: str) -> Closing:
    """Return how the world's gate stands now.

    Raises:
        WorldNotFoundError: there is no such world.
    """
    reading = read_world(world_id=world_id)
    gate, now = world_gate(reading.facts), database_now()
    committed_at = None if gate.level is GateLevel.OPEN else _committed_at(reading.world, gate.level)
    effective_at = committed_at + timings_of(reading.world, now=now).drain if committed_at else None
    return Closing(
        level=gate.level,
        reason=gate.reason,
        committed_at=committed_at,
        effective_at=effective_at,
        effective=effective_at is None or now >= effective_at,
        acknowledged=_acknowledged(world_id, reading.facts.position),
    )


def _committed_at(world: World, level: GateLevel) -> datetime | None:
    """Return since when something keeps the world's gate at least so far shut.

    A hold that came later on top of another one shut nothing that was open.
    """
    times = [
        hold.placed_at
        for hold in holds_of(world.id)
        if not hold.scope and GateLevel(hold.level).strictness >= level.strictness
    ]
    times += [filed.at for filed in filed_kills(world.id) if not filed.scope]
    if world.state != World.State.ACTIVE:
        times.append(world.changed_at)
    return min(times, default=None)


def _acknowledged(world_id: str, position: Position) -> bool | None:
    rows = RunnerSession.objects.filter(world_id=world_id)
    told = rows.values_list("acknowledged_at", "incarnation", "sequence", "hold_sequence")
    heard = [at is not None and Position(*where) >= position for at, *where in told]
    return all(heard) if heard else None
