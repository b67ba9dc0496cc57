"""Move bars from narrow storage into blocks; what readers see does not change.

A bar moves once at least one in ``SHARED`` of the current instances has one of the same time. The rest stays where it
is, because a block of few cells is larger than the rows. Readers look at the narrow kinds first, so whoever reads
meanwhile sees a moving bar twice, not never. Every move is one transaction that begins by deleting: of two movers, one
gets the rows.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, TypeVar

import numpy as np
from django.db import transaction
from numpy.typing import NDArray

from qmtl_worlds.contracts.digests import digest_bytes
from strategies.codec import unpack_times
from strategies.models import BarBlock, BlockLayout, StrategyInstance
from strategies.rows import fetch_packed, placeholders
from strategies.selectors import StoredRow, StoredSegment, StoredSeries
from worlds.work.bar_digests import BarDigests, Row, pack_flags
from worlds.work.bar_grid import BarGrid, grid_of

SHARED: Final = 16
CELLS_AT_ONCE: Final = 2_000_000
"""How many bars of segments one transaction moves at most: 16 MB of returns, packed in well under a second."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Integers = NDArray[np.int64]
Moved = TypeVar("Moved", StoredRow, StoredSegment)

_BATCH: Final = 500
_BLOCKS_AT_ONCE: Final = 100
_ENDS: Final = np.iinfo(np.int64)


@transaction.atomic
def seal_tail(*, world_id: str, before: int) -> int:
    """Move tail rows with ts <= ``before`` (epoch seconds) into blocks; return how many rows moved.

    ``before`` lies a little behind the clock, so that most rows of a bar have come; rows that come later make blocks of
    their own. A call moves a bounded number of bars; call again until it returns 0.
    """
    rows = _take_rows(world_id, before)
    for _, part in _by_version(rows):
        _move(world_id, rows=part)
    return len(rows)


@transaction.atomic
def merge_segments(*, world_id: str) -> int:
    """Move segments whose times enough instances share into blocks; return how many segments moved.

    A call moves a bounded number; call again until it returns 0.
    """
    segments = _take_segments(world_id)
    for _, part in _by_version(segments):
        _move(world_id, segments=part)
    return len(segments)


def write_blocks(*, world_id: str, instances: Integers, grid: BarGrid, version: tuple[str, int]) -> None:
    """Store a grid whose columns are ``instances`` (ids, ascending) as one block a time.

    ``version`` is the provenance and the revision under which all of it came in.
    """
    layout, members = _layout_for(world_id, instances)
    places = np.searchsorted(members, instances)
    provenance, revision = version
    digests = BarDigests(instances)
    BarBlock.objects.bulk_create(
        (
            BarBlock(
                world_id=world_id,
                ts=int(ts),
                provenance=provenance,
                revision=revision,
                layout_id=layout,
                **_stored_bar(digests, grid.row(row), places, len(members)),
            )
            for row, ts in enumerate(grid.ts)
        ),
        batch_size=_BLOCKS_AT_ONCE,
    )


def _by_version(found: Iterable[Moved]) -> Iterator[tuple[tuple[str, int], list[Moved]]]:
    """Group what came in under one provenance and revision."""
    for version, part in groupby(sorted(found, key=_version), key=_version):
        yield version, list(part)


def _version(moved: StoredRow | StoredSegment) -> tuple[str, int]:
    return moved.provenance, moved.revision


def _take_rows(world_id: str, before: int) -> list[StoredRow]:
    times = [ts for (ts,) in fetch_packed(_SHARED_TIMES, (world_id, before, SHARED, _instance_count(world_id)))]
    taken: list[StoredRow] = []
    for batch in _batches(times):
        for instance, ts, provenance, revision, *bar in fetch_packed(
            _TAKE_ROWS + placeholders(batch) + _ROW_COLUMNS, (world_id, *batch)
        ):
            taken.append(StoredRow(instance, ts, provenance, revision, (bar[0], bar[1], bar[2], bar[3])))
    return taken


def _take_segments(world_id: str) -> list[StoredSegment]:
    taken: list[StoredSegment] = []
    for batch in _batches(_mergeable(world_id)):
        for instance, provenance, revision, times, *packed in fetch_packed(
            _TAKE_SEGMENTS + placeholders(batch) + _SEGMENT_COLUMNS, batch
        ):
            columns = (packed[0], packed[1], packed[2], packed[3])
            taken.append(StoredSegment(instance, provenance, revision, times, columns))
    return taken


def _mergeable(world_id: str) -> list[int]:
    """Return the ids of segments all of whose times enough others share, the oldest first."""
    found = fetch_packed(_SEGMENT_TIMES, (world_id,))
    together = Counter(times for _, times in found)
    decoded = {times: np.array(unpack_times(times)) for times in together}
    if not decoded:
        return []
    axis, places = np.unique(np.concatenate(list(decoded.values())), return_inverse=True)
    weights = np.repeat(list(together.values()), [len(ts) for ts in decoded.values()])
    shares = np.bincount(places, weights=weights)
    needed = _instance_count(world_id) / SHARED
    shared = {times: bool((shares[np.searchsorted(axis, ts)] >= needed).all()) for times, ts in decoded.items()}
    chosen: list[int] = []
    cells = 0
    for segment, times in found:
        if shared[times] and (not chosen or cells + len(decoded[times]) <= CELLS_AT_ONCE):
            chosen.append(segment)
            cells += len(decoded[times])
    return chosen


def _instance_count(world_id: str) -> int:
    return StrategyInstance.objects.filter(world_id=world_id, withdrawn_at=None).count()


def _batches(values: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]


def _move(world_id: str, *, rows: Sequence[StoredRow] = (), segments: Sequence[StoredSegment] = ()) -> None:
    """Make blocks of bars of one provenance and revision that were taken out of narrow storage."""
    moved: list[StoredRow | StoredSegment] = [*rows, *segments]
    provenance, revision = _version(moved[0])
    stored = StoredSeries(
        world_id=world_id,
        first=_ENDS.min,
        last=_ENDS.max,
        revision=revision,
        provenance=(provenance,),
        layouts={},
        blocks=(),
        segments=segments,
        rows=rows,
    )
    instances = np.unique(np.array([version.instance for version in moved], dtype=np.int64))
    grid = grid_of(stored, instances)
    write_blocks(world_id=world_id, instances=instances, grid=grid, version=(provenance, revision))


def _stored_bar(digests: BarDigests, row: Row, places: Integers, count: int) -> dict[str, bytes]:
    """Pack the bars of a row whose cells are at ``places`` of a layout of ``count``."""
    present, packed = digests.pack(row)
    flags = np.zeros(count, dtype=np.bool_)
    flags[places[present]] = True
    ret, leverage, turnover, trades = packed
    return {
        "presence": b"" if flags.all() else zlib.compress(pack_flags(flags)),
        "ret": ret,
        "leverage": leverage,
        "turnover": turnover,
        "trades": trades,
        "digest": digests.digest(present, packed),
    }


def _layout_for(world_id: str, instances: Integers) -> tuple[int, Integers]:
    """Return the world's latest layout if it has all ``instances``, else a new one with all current ones as well."""
    latest = BlockLayout.objects.filter(world_id=world_id).order_by("-id").first()
    if latest is not None:
        members = np.frombuffer(bytes(latest.instances), "<i8")
        if np.isin(instances, members).all():
            return latest.pk, members
    bound = StrategyInstance.objects.filter(world_id=world_id, withdrawn_at=None).values_list("id", flat=True)
    members = np.union1d(instances, np.array(list(bound), dtype=np.int64))
    packed = members.astype("<i8").tobytes()
    digest = digest_bytes(packed)
    BlockLayout.objects.bulk_create(
        [BlockLayout(world_id=world_id, digest=digest, instances=packed)], ignore_conflicts=True
    )
    return BlockLayout.objects.values_list("id", flat=True).get(world_id=world_id, digest=digest), members


_ROW_COLUMNS: Final = " RETURNING instance_id, ts, provenance, revision, ret, leverage, turnover, trades"
_SEGMENT_COLUMNS: Final = " RETURNING instance_id, provenance, revision, times, ret, leverage, turnover, trades"
_TAKE_ROWS: Final = "DELETE FROM strategies_tailrow WHERE world_id = %s AND ts IN "
_TAKE_SEGMENTS: Final = "DELETE FROM strategies_segment WHERE id IN "
_SEGMENT_TIMES: Final = "SELECT id, times FROM strategies_segment WHERE world_id = %s ORDER BY last_ts, id"
_SHARED_TIMES: Final = (
    "SELECT ts FROM strategies_tailrow WHERE world_id = %s AND ts <= %s"
    " GROUP BY ts HAVING COUNT(DISTINCT instance_id) * %s >= %s ORDER BY ts LIMIT 500"
)
