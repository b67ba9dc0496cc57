"""What the rows say of a world as a whole, by one statement: what it tells was true at one instant.

The statements are written out: every answer and every confirmation waits for them, and an ORM takes longer to make
them than a database to answer them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, Final

from django.db import connection

from audit.chain import KILL_SUFFIX, kill_chain
from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.lease import Position
from strategies.rows import placeholders
from worlds.models import GateHold, World
from worlds.stores.clock import now_expression
from worlds.stores.statements import adapted, rows_of, time_of

_FIELDS: Final = (
    "id",
    "mode",
    "compat",
    "state",
    "lease_ms",
    "on_lease_expiry",
    "incarnation",
    "generation",
    "sequence",
    "policy_id",
    "replay_now",
    "created_at",
    "changed_at",
)
"""In the order of the model's, which ``from_db`` asks for; what is not here is read only when somebody asks for it."""
_TIMES: Final = 3
"""So many of the last fields are times."""
_OF_HOLD: Final = ("scope", "kind", "owner", "level")
_SET: Final = "worlds_activationset s WHERE s.world_id = w.id AND s.generation = w.generation"
_WORLD: Final = f"""
SELECT {", ".join(f"w.{field}" for field in _FIELDS)}, {", ".join(f"h.{field}" for field in _OF_HOLD)},
  (SELECT checksum FROM worlds_policyversion p WHERE p.id = w.policy_id),
  (SELECT content_hash FROM {_SET}),
  (SELECT r.run_id FROM worlds_applyrun r WHERE r.id = (SELECT s.run_id FROM {_SET})),
  (SELECT created_at FROM worlds_outboxevent o WHERE o.world_id = w.id AND o.sequence = w.sequence),
  (SELECT seq FROM audit_audithead WHERE chain = %s),
  {{now}},
  EXISTS (
    SELECT 1 FROM strategies_strategyinstance i WHERE i.world_id = w.id AND i.withdrawn_at IS NULL
    AND i.fresh_until >= CASE WHEN w.mode = 'replay' AND w.replay_now IS NOT NULL THEN w.replay_now ELSE {{now}} END
  )
FROM worlds_world w LEFT JOIN worlds_gatehold h ON h.world_id = w.id WHERE w.id = %s
"""  # noqa: S608 - only names of columns
_POSITION: Final = """
SELECT incarnation, sequence, (SELECT seq FROM audit_audithead WHERE chain = %s) FROM worlds_world WHERE id = %s
"""
_POSITIONS: Final = """
SELECT w.id, w.incarnation, w.sequence, k.seq FROM worlds_world w
LEFT JOIN audit_audithead k ON k.chain = w.id || %s WHERE w.id IN {ids}
"""
_EVENTS: Final = """
SELECT kind, payload FROM worlds_outboxevent WHERE world_id = %s AND sequence > %s AND sequence <= %s
ORDER BY sequence LIMIT %s
"""
_FIVE: Final = "(%s, %s, %s, %s, %s)"
_TOLD: Final = "INSERT INTO worlds_outboxevent (world_id, sequence, kind, payload, created_at) VALUES "
_JOINING: Final = "INSERT INTO worlds_activationentry (set_id, instance_id, weight, evaluation_run_id, promoted_at) "
_COLUMNS: Final = "SELECT %s, * FROM unnest(%s::bigint[], %s::double precision[], %s::text[], %s::timestamptz[])"
_IN_SET: Final = """
FROM worlds_activationset s
JOIN worlds_activationentry e ON e.set_id = s.id JOIN strategies_strategyinstance i ON i.id = e.instance_id
WHERE s.world_id = %s AND s.generation = %s
"""
_WEIGHTS: Final = f"SELECT i.strategy_id, i.side, e.weight {_IN_SET}"
_MEMBERS: Final = f"SELECT i.strategy_id, i.side, e.weight, i.fresh_until {_IN_SET}"
_ENTRIES: Final = f"""
SELECT e.instance_id, i.strategy_id, i.side, e.weight, e.promoted_at, e.evaluation_run_id, i.fresh_until, i.withdrawn_at
{_IN_SET} ORDER BY i.strategy_id, i.side
"""
_HOLDS: Final = f"SELECT {', '.join(_OF_HOLD)} FROM worlds_gatehold WHERE world_id = %s"  # noqa: S608 - only names
_LOCKED: Final = f"SELECT {', '.join(_FIELDS)} FROM worlds_world WHERE id = %s"  # noqa: S608 - only names
_CAPS: Final = "SELECT scope, cap FROM worlds_override WHERE world_id = %s"


@dataclass(frozen=True, slots=True)
class MemberRow:
    """One entry of an active set, and until when its data is fresh now."""

    key: InstanceKey
    weight: float
    fresh_until: datetime | None


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of an active set: which instance, how much, since when, on which evaluation's word."""

    instance_id: int
    key: InstanceKey
    weight: float
    promoted_at: datetime
    evaluation_run_id: str
    fresh_until: datetime | None
    withdrawn_at: datetime | None


@dataclass(frozen=True, slots=True)
class WorldRow:
    """A world and what belongs to it at one instant; columns that no gate asks for are not read.

    ``content_hash`` and ``run_id`` are those of the set in force, ``told_at`` when its position was reached; each is
    None where there is none. ``now`` is the database's time of the statement.
    """

    world: World
    holds: tuple[GateHold, ...]
    policy_checksum: str | None
    content_hash: str | None
    run_id: str | None
    told_at: datetime | None
    kills: int
    now: datetime
    anything_fresh: bool


def lock_world(world_id: str) -> World | None:
    """Return the world with its row locked until the transaction ends, as ``locked_world`` does; None for none."""
    lock = " FOR NO KEY UPDATE" if connection.features.has_select_for_no_key_update else ""
    return next((_world(row) for row in rows_of(f"{_LOCKED}{lock}", world_id)), None)


def read_holds(world_id: str) -> tuple[GateHold, ...]:
    """Return what holds a world or one of its instances; who placed it and when is read only where asked for."""
    return tuple(map(_hold, rows_of(_HOLDS, world_id)))


def read_world_row(world_id: str) -> WorldRow | None:
    """Return what the rows say of a world; None where there is none."""
    sql = _WORLD.format(now=now_expression().replace("%", "%%"))
    rows = rows_of(sql, kill_chain(world_id), world_id)
    if not rows:
        return None
    held = len(_FIELDS) + len(_OF_HOLD)
    checksum, content_hash, run_id, told_at, kills, now, anything_fresh = rows[0][held:]
    return WorldRow(
        world=_world(rows[0][: len(_FIELDS)]),
        holds=tuple(_hold(row[len(_FIELDS) : held]) for row in rows if row[held - 1] is not None),
        policy_checksum=checksum,
        content_hash=content_hash,
        run_id=run_id,
        told_at=time_of(told_at),
        kills=kills or 0,
        now=time_of(now),
        anything_fresh=bool(anything_fresh),
    )


def read_position(world_id: str) -> Position | None:
    """Return where in its order of visible states a world is; None where there is none."""
    for incarnation, sequence, kills in rows_of(_POSITION, kill_chain(world_id), world_id):
        return Position(incarnation, sequence, kills or 0)
    return None


def read_positions(world_ids: Collection[str]) -> dict[str, Position]:
    """Return where each of the worlds is, of those that there are."""
    sql = _POSITIONS.format(ids=placeholders(tuple(world_ids)))
    rows = rows_of(sql, KILL_SUFFIX, *world_ids) if world_ids else []
    return {world_id: Position(incarnation, sequence, kills or 0) for world_id, incarnation, sequence, kills in rows}


def read_events(world_id: str, *, after: int, until: int, limit: int) -> list[tuple[str, dict[str, Any]]]:
    """Return kind and payload of a world's events with a sequence in ``(after, until]``, in order."""
    return [(kind, json.loads(payload)) for kind, payload in rows_of(_EVENTS, world_id, after, until, limit)]


def insert_entries(set_id: int, members: Iterable[tuple[Member, float]]) -> None:
    """Store who is in a set that is new, each at a weight."""
    rows = [(who.instance_id, weight, who.evaluation_run_id, adapted(who.promoted_at)) for who, weight in members]
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            cursor.executemany(f"{_JOINING} VALUES {_FIVE}", [(set_id, *row) for row in rows])
        elif rows:  # four arrays take less time than a thousand values
            cursor.execute(_JOINING + _COLUMNS, [set_id, *map(list, zip(*rows, strict=True))])


def insert_events(world_id: str, events: Sequence[tuple[int, str, Mapping[str, object]]], *, now: datetime) -> None:
    """Add events, each with its sequence, kind and payload, to what is told of a world."""
    at = adapted(now)
    given = [(world_id, sequence, kind, json.dumps(payload), at) for sequence, kind, payload in events]
    with connection.cursor() as cursor:
        cursor.execute(_TOLD + ", ".join([_FIVE] * len(given)), list(chain.from_iterable(given)))


def read_members(world_id: str, generation: int) -> list[MemberRow]:
    """Return the entries of one generation; one that is empty, or that never was, has none."""
    rows = rows_of(_MEMBERS, world_id, generation) if generation else []
    return [MemberRow(InstanceKey(name, Side(side)), weight, time_of(until)) for name, side, weight, until in rows]


def read_weights(world_id: str, generation: int) -> list[tuple[InstanceKey, float]]:
    """Return who is in at what weight in one generation."""
    return [(InstanceKey(name, Side(side)), weight) for name, side, weight in rows_of(_WEIGHTS, world_id, generation)]


def read_entries(world_id: str, generation: int) -> list[Member]:
    """Return the entries of one generation as they were committed, with what their instances are now."""
    return [
        Member(number, InstanceKey(name, Side(side)), weight, time_of(since), chosen_by, time_of(until), time_of(gone))
        for number, name, side, weight, since, chosen_by, until, gone in rows_of(_ENTRIES, world_id, generation)
    ]


def read_caps(world_id: str) -> dict[str, float]:
    """Return what operators limit the world's instances to, by the text of their keys."""
    return dict(rows_of(_CAPS, world_id))


def _world(values: tuple[Any, ...]) -> World:
    times = (time_of(value) for value in values[-_TIMES:])
    return World.from_db(connection.alias, _FIELDS, (*values[:-_TIMES], *times))


def _hold(values: tuple[Any, ...]) -> GateHold:
    return GateHold.from_db(connection.alias, _OF_HOLD, values)
