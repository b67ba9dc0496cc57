"""The current, wanted instances of a world as columns, for an evaluation.

Who they are changes rarely, how far their data reaches with each bar. So a process remembers the former by the stamp
that every change of the register sets anew in its own transaction, and asks for the latter each time.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from django.db import connection

from qmtl_worlds.contracts.ids import Side
from strategies.models import SeriesHead
from strategies.rows import fetch_packed

LONG: Final = 0
SHORT: Final = 1

_WORLDS: Final = 16
"""So many registers a process remembers; one of 10,000 instances takes about 2 MB."""


@dataclass(frozen=True, slots=True)
class CandidateColumns:
    """The current, wanted instances of a world, by instance id; times are epoch seconds, NaN is "none yet".

    Other readers may hold the same columns: nobody changes them.
    """

    instances: array[int]
    keys: tuple[str, ...]
    sides: array[int]
    sectors: tuple[str | None, ...]
    interval_seconds: array[int]
    bound_at: array[float]
    fresh_until: array[float]


def candidates(world_id: str) -> CandidateColumns:
    """Return what an evaluation needs of the register, without the series.

    The stamp is read before what it stands for. So where it is still the one that was remembered, no change has been
    committed since; and what a change right now brings is in ``fresh_until`` at the latest, or makes other ids.
    """
    stamp = SeriesHead.objects.filter(pk=world_id).values_list("register_stamp", flat=True).first()
    known = _known.get(world_id)
    if known and known.stamp == stamp:
        ids, reach = fetch_packed(_REACH[connection.vendor], (world_id,))[0]
        if (ids or "") == known.ids:
            return replace(known.columns, fresh_until=_times(reach.split(_COMMA) if ids else ()))
    columns = _read(world_id)
    if stamp:
        _remember(world_id, stamp, columns)
    return columns


def side_code(side: Side) -> int:
    """Return a side as ``CandidateColumns.sides`` has it."""
    return SHORT if side is Side.SHORT else LONG


@dataclass(frozen=True, slots=True)
class _Known:
    """A register as it was under ``stamp``; ``ids`` is how the database spells them."""

    stamp: str
    columns: CandidateColumns
    ids: str


_known: Final[dict[str, _Known]] = {}
"""By world; whoever finds it full begins anew."""


def _remember(world_id: str, stamp: str, columns: CandidateColumns) -> None:
    if len(_known) >= _WORLDS:
        _known.clear()
    _known[world_id] = _Known(stamp, columns, _COMMA.join(map(str, columns.instances)))


def _read(world_id: str) -> CandidateColumns:
    rows = fetch_packed(_CANDIDATES, (world_id,))
    ids, keys, sectors, intervals, bound_at, fresh_until = zip(*rows, strict=True) if rows else ((),) * 6
    return CandidateColumns(
        instances=array("q", ids),
        keys=keys,
        sides=array("b", [key.endswith(_SHORT_KEY) for key in keys]),
        sectors=tuple([sector or None for sector in sectors]),
        interval_seconds=array("q", intervals),
        bound_at=_times(bound_at),
        fresh_until=_times(fresh_until),
    )


_COMMA: Final = ","
_SHORT_KEY: Final = f"|{Side.SHORT.value}"
_CURRENT: Final = (
    " FROM strategies_strategyinstance WHERE world_id = %s AND withdrawn_at IS NULL AND wanted ORDER BY id"
)
_CANDIDATES: Final = (
    # As expressions the times come from SQLite as text: else Django parses each on its way.
    "SELECT id, strategy_id || '|' || side, sector, interval_seconds,"
    f" COALESCE(bound_at, NULL), COALESCE(fresh_until, NULL){_CURRENT}"
)
_REACH: Final = {
    # Two long texts come over at a third of the cost of many short rows.
    vendor: f"SELECT {join}(CAST(id AS text), ','), {join}(COALESCE(CAST(fresh_until AS text), ''), ',')"  # noqa: S608
    f" FROM (SELECT id, fresh_until{_CURRENT}) AS candidate"
    for vendor, join in (("sqlite", "group_concat"), ("postgresql", "string_agg"))
}


def _times(column: Sequence[datetime | str | None]) -> array[float]:
    """Return times as epoch seconds, NaN for none; some come as text, and most instances share a few."""
    seconds = {time: _seconds(time) for time in set(column)}
    return array("d", map(seconds.__getitem__, column))


def _seconds(time: datetime | str | None) -> float:
    if not time:
        return math.nan
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
