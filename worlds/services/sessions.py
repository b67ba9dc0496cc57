"""Runners as they were last heard of, written in batches: for display, never for a decision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from qmtl_worlds.contracts.lease import Position
from worlds.models import ActivationSet, OutboxEvent, RunnerSession, World
from worlds.selectors import position_of

CONNECTED_WITHIN: Final = timedelta(seconds=60)
KEPT_FOR: Final = timedelta(days=1)
_CHANGING: Final = (
    "token",
    "connection",
    "incarnation",
    "sequence",
    "hold_sequence",
    "skew_ms",
    "seen_at",
    "acknowledged_at",
)


@dataclass(frozen=True, slots=True)
class Heard:
    """One Runner as a process heard of it."""

    world_id: str
    client_id: str
    token: str
    connection: str
    held: Position
    skew_ms: float | None
    connected_at: datetime
    seen_at: datetime
    acknowledged_at: datetime | None


@dataclass(frozen=True, slots=True)
class Spread:
    """How far a world's newest state has spread: of ``connected`` Runners ``holding`` have it."""

    connected: int
    holding: int
    slowest_ms: float | None
    slowest_client: str = ""


def note_sessions(heard: Sequence[Heard]) -> None:
    """Write what was heard, each Runner once; a world that is gone meanwhile is left out."""
    known = set(World.objects.filter(id__in={one.world_id for one in heard}).values_list("id", flat=True))
    rows = [_row(one) for one in heard if one.world_id in known]
    RunnerSession.objects.bulk_create(
        rows,
        batch_size=500,
        update_conflicts=True,
        unique_fields=["world", "client_id"],
        update_fields=_CHANGING,
    )


def forget_sessions(*, now: datetime) -> int:
    """Forget Runners that nobody has heard of for a day; return how many."""
    return RunnerSession.objects.filter(seen_at__lt=now - KEPT_FOR).delete()[0]


def connected_sessions(world: World, *, now: datetime) -> tuple[RunnerSession, ...]:
    """Return the Runners heard of within the last minute, those that are behind first, then the slowest."""
    rows = RunnerSession.objects.filter(world=world, seen_at__gte=now - CONNECTED_WITHIN)
    present = position_of(world)
    return tuple(sorted(rows, key=lambda row: (held_by(row) >= present, -(row.skew_ms or 0.0), row.client_id)))


def spread_of(world: World, rows: Iterable[RunnerSession]) -> Spread:
    """Return how many of ``rows`` have the world's newest state, and which took longest to have it."""
    present, rows = position_of(world), tuple(rows)
    holding = [row for row in rows if held_by(row) >= present]
    slowest = max(((row.skew_ms, row.client_id) for row in holding if row.skew_ms is not None), default=(None, ""))
    return Spread(len(rows), len(holding), *slowest)


def generations_at(world: World, sequences: Iterable[int]) -> dict[int, int]:
    """Return which set was in force at each sequence; those whose events are gone are left out."""
    events = OutboxEvent.objects.filter(world=world, sequence__in=set(sequences))
    born = dict(events.values_list("sequence", "created_at"))
    sets = list(
        ActivationSet.objects.filter(world=world).order_by("generation").values_list("generation", "created_at")
    )
    at = {
        sequence: max((number for number, made in sets if made <= when), default=0) for sequence, when in born.items()
    }
    return at | {world.sequence: world.generation}


def held_by(row: RunnerSession) -> Position:
    """Return the position that a Runner holds."""
    return Position(row.incarnation, row.sequence, row.hold_sequence)


def _row(heard: Heard) -> RunnerSession:
    return RunnerSession(
        world_id=heard.world_id,
        client_id=heard.client_id,
        token=heard.token,
        connection=heard.connection,
        incarnation=heard.held.incarnation,
        sequence=heard.held.sequence,
        hold_sequence=heard.held.hold_sequence,
        skew_ms=heard.skew_ms,
        connected_at=heard.connected_at,
        seen_at=heard.seen_at,
        acknowledged_at=heard.acknowledged_at,
    )
