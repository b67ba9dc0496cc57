"""What others may ask of the register and its series. No numpy: ``worlds.work.panel_loader`` unpacks the bytes."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from qmtl_worlds.contracts.errors import InputInvalidError, StrategyNotFoundError
from qmtl_worlds.contracts.ids import Side
from qmtl_worlds.contracts.metric_names import REPORTED_PREFIX
from strategies.codec import unpack_integers
from strategies.freshness import COUNTED
from strategies.models import (
    BlockLayout,
    Provenance,
    ReportedMetric,
    Roster,
    SeriesHead,
    StrategyInstance,
)
from strategies.rows import fetch_packed, placeholders

PRECEDENCE: Final = {Provenance.BACKTEST.value: 0, Provenance.PAPER.value: 1, Provenance.LIVE.value: 2}
"""Where two series have the same bar, the one with the higher number counts."""


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """One bar of many instances, as stored; ``presence`` is empty where the whole layout has it.

    ``digest`` was kept beside the bytes, and is only as good as the row: to trust it is for those who do not verify.
    """

    ts: int
    provenance: str
    revision: int
    layout: int
    presence: bytes
    columns: tuple[bytes, bytes, bytes, bytes]
    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A stretch of one instance's bars, as stored."""

    instance: int
    provenance: str
    revision: int
    times: bytes
    columns: tuple[bytes, bytes, bytes, bytes]


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One bar of one instance, as stored."""

    instance: int
    ts: int
    provenance: str
    revision: int
    bar: tuple[float, float | None, float | None, float | None]


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """The bars of a world with ``first`` <= ts <= ``last`` and at most ``revision``, in all their versions.

    Of one bar the version with the higher ``PRECEDENCE`` counts, then the one with the higher revision; no two agree in
    both. Segments may reach beyond ``first`` and ``last``. ``layouts`` hold instance ids, ascending.
    """

    world_id: str
    first: int
    last: int
    revision: int
    provenance: tuple[str, ...]
    layouts: Mapping[int, array[int]]
    blocks: Sequence[StoredBlock]
    segments: Sequence[StoredSegment]
    rows: Sequence[StoredRow]

    @property
    def reference(self) -> dict[str, object]:
        """Return the JSON value that names these bars for ever: reading by it again gives the same."""
        return {
            "world_id": self.world_id,
            "first": self.first,
            "last": self.last,
            "revision": self.revision,
            "provenance": list(self.provenance),
        }


def get_instance(
    world_id: str, strategy_id: str, side: Side | None = None, *, locked: bool = False
) -> StrategyInstance:
    """Return the current instance; ``locked`` keeps it as it is until the caller's transaction ends.

    Without ``side`` the long one is meant.

    Raises:
        StrategyNotFoundError: it is not bound.
        InputInvalidError: no side is named and both are bound.
    """
    bound = StrategyInstance.objects.filter(world_id=world_id, strategy_id=strategy_id, withdrawn_at=None)
    if locked:
        bound = bound.select_for_update(no_key=True)
    instances = {instance.side: instance for instance in bound.order_by("side")}
    if side is None and len(instances) > 1:
        raise InputInvalidError(field="side", reason="must be named, because both sides are bound")
    wanted = (side or Side.LONG).value
    if wanted not in instances:
        raise StrategyNotFoundError(world_id, strategy_id, None if side is None else side.value)
    return instances[wanted]


def get_roster(world_id: str) -> tuple[str, ...] | None:
    """Return the wanted strategies in their order, None where all bound ones are wanted."""
    roster = Roster.objects.filter(pk=world_id).first()
    return None if roster is None else tuple(roster.strategies)


def evaluation_bytes(
    world_id: str, *, first: int, last: int, provenance: frozenset[str] = COUNTED, revision: int | None = None
) -> StoredSeries:
    """Read the bars of a world for a panel, packed as they are stored.

    ``revision`` bounds what is seen; left out, it is the present one, which a later read may not be able to repeat
    (``services.revision.pin_revision`` closes it first). The narrow kinds of storage are read before the blocks: bars
    only ever move from them to blocks, so a bar that moves meanwhile is seen twice, not missed.
    """
    if revision is None:
        revision = SeriesHead.objects.filter(pk=world_id).values_list("revision", flat=True).first() or 0
    extent, sources = (world_id, first, last, revision), tuple(sorted(provenance))
    rows = [
        StoredRow(instance, ts, source, number, (ret, leverage, turnover, trades))
        for instance, ts, source, number, ret, leverage, turnover, trades in _fetch(_TAIL, extent, sources)
    ]
    segments = [
        StoredSegment(instance, source, number, times, (ret, leverage, turnover, trades))
        for instance, source, number, times, ret, leverage, turnover, trades in _fetch(_SEGMENTS, extent, sources)
    ]
    blocks = [
        StoredBlock(ts, source, number, layout, presence, (bars[0], bars[1], bars[2], bars[3]), digest)
        for ts, source, number, layout, presence, digest, *bars in _fetch(_BLOCKS, extent, sources)
    ]
    needed = {block.layout for block in blocks}
    layouts = BlockLayout.objects.filter(pk__in=needed).values_list("id", "instances")
    return StoredSeries(
        world_id=world_id,
        first=first,
        last=last,
        revision=revision,
        provenance=sources,
        layouts={layout: unpack_integers(bytes(instances)) for layout, instances in layouts},
        blocks=blocks,
        segments=segments,
        rows=rows,
    )


def reported_values(world_id: str, *, as_of: datetime, revision: int) -> dict[str, dict[int, float]]:
    """Return the latest reported metrics up to ``as_of`` and ``revision``: full name -> instance id -> value."""
    found: dict[str, dict[int, float]] = {}
    rows = ReportedMetric.objects.filter(instance__world_id=world_id, as_of__lte=as_of, revision__lte=revision)
    for name, instance, value in rows.order_by("as_of", "revision").values_list("name", "instance_id", "value"):
        found.setdefault(f"{REPORTED_PREFIX}{name}", {})[instance] = value
    return found


_TAIL: Final = (
    "SELECT instance_id, ts, provenance, revision, ret, leverage, turnover, trades FROM strategies_tailrow"
    " WHERE world_id = %s AND ts >= %s AND ts <= %s AND revision <= %s AND provenance IN "
)
_SEGMENTS: Final = (
    "SELECT instance_id, provenance, revision, times, ret, leverage, turnover, trades FROM strategies_segment"
    " WHERE world_id = %s AND last_ts >= %s AND first_ts <= %s AND revision <= %s AND provenance IN "
)
_BLOCKS: Final = (
    "SELECT ts, provenance, revision, layout_id, presence, digest, ret, leverage, turnover, trades"
    " FROM strategies_barblock"
    " WHERE world_id = %s AND ts >= %s AND ts <= %s AND revision <= %s AND provenance IN "
)


def _fetch(query: str, extent: tuple[str, int, int, int], provenance: Sequence[str]) -> list[tuple[Any, ...]]:
    return fetch_packed(query + placeholders(provenance), (*extent, *provenance))
