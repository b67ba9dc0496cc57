"""Take in return series: new bars, the same bars again, and corrections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import transaction

from audit.recorder import record
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import SeriesConflictError
from qmtl_worlds.contracts.ids import InstanceKey, Side
from strategies.codec import pack_numbers, pack_optional, pack_times
from strategies.freshness import Currency, FreshnessRule, currency
from strategies.lookup import stored_bars
from strategies.models import Provenance, Segment, SeriesTrack, StrategyInstance, TailRow
from strategies.selectors import get_instance
from strategies.series import Bar, SeriesRows, at, check_rows, to_returns
from strategies.services.revision import correcting_revision, present_revision

LIVE_ROWS: Final = 5
"""A call with more new bars than this is a backfill and is stored as a segment."""
SEGMENT_ROWS: Final = 2_048
"""A longer backfill becomes several segments, so that a window reads little beside what it needs."""


@dataclass(frozen=True, slots=True)
class SeriesTarget:
    """Whose series it is. ``side`` may be left out where only the long side is bound."""

    world_id: str
    strategy_id: str
    provenance: Provenance
    side: Side | None = None


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of the rows, and how far the data reaches now.

    Counts are bars. ``revision`` is None where nothing was stored. ``was_fresh_until`` is the end of freshness from
    before, so that the caller can tell whether gates change.
    """

    key: InstanceKey
    appended: int
    unchanged: int
    revised: int
    revision: int | None
    data_end: datetime | None
    fresh_until: datetime | None
    was_fresh_until: datetime | None


@transaction.atomic
def append_returns(
    *, target: SeriesTarget, rows: SeriesRows, revise: bool, rule: FreshnessRule | None, act: Act
) -> IngestResult:
    """Store the bars of one instance that are not stored yet.

    Bars already stored with the same values are left alone; where a row leaves an optional value out, that value is
    not compared. A bar stored with other values is a conflict, or with ``revise`` a correction under a revision of its
    own: the old value stays readable under the older ones. Each provenance is a series of its own, so a backtest never
    changes what was earned live. ``act.now`` is the database's clock; without a ``rule`` nothing turns fresh.

    Raises:
        StrategyNotFoundError: the instance is not bound.
        InputInvalidError: both sides are bound and none is named.
        SeriesInvalidError: a row is refused (``strategies.series.check_rows``); nothing was stored.
        SeriesConflictError: a row contradicts a stored one.
    """
    check_rows(rows, now=act.now)
    instance = get_instance(target.world_id, target.strategy_id, target.side, locked=True)
    tracks = {track.provenance: track for track in instance.tracks.order_by("id")}
    track = tracks.setdefault(target.provenance, SeriesTrack(instance=instance, provenance=target.provenance))
    bars = to_returns(rows, base=_base(track, rows, revise=revise))
    new, changed = _compare(bars, _stored(instance, track, bars.ts))
    if changed and not revise:
        row = changed[0] + len(rows) - len(bars)
        raise SeriesConflictError(row=row, ts=f"{at(bars.ts[changed[0]]):%FT%TZ}")
    revision = _store(instance, target.provenance, bars.take(sorted((*new, *changed))), corrects=bool(changed))
    before = instance.fresh_until
    _extend(track, rows, bars)
    _refresh(instance, tracks.values(), rule)
    if changed:
        _audit_correction(instance, target.provenance, [at(bars.ts[row]) for row in changed], act)
    return IngestResult(
        key=instance.key,
        appended=len(new),
        unchanged=len(bars) - len(new) - len(changed),
        revised=len(changed),
        revision=revision,
        data_end=instance.data_end,
        fresh_until=instance.fresh_until,
        was_fresh_until=before,
    )


def _base(track: SeriesTrack, rows: SeriesRows, *, revise: bool) -> float | None:
    """Return the stored equity just before the first row, None where the first row must be the base itself."""
    if not rows.is_equity or track.equity is None or track.equity_ts is None:
        return None
    if track.equity_ts < rows.ts[0]:
        return track.equity
    if not revise and track.equity_ts in rows.ts:
        row = rows.ts.index(track.equity_ts)
        if rows.ret[row] != track.equity:
            raise SeriesConflictError(row=row, ts=f"{at(track.equity_ts):%FT%TZ}")
    return None


def _stored(instance: StrategyInstance, track: SeriesTrack, ts: Sequence[int]) -> dict[int, Bar]:
    """Return what is stored in the extent of ``ts``; bars after the end of the track need no look."""
    if not ts or track.last_ts is None or ts[0] > track.last_ts:
        return {}
    return stored_bars(instance, provenance=track.provenance, first=ts[0], last=min(ts[-1], track.last_ts))


def _compare(bars: SeriesRows, stored: dict[int, Bar]) -> tuple[Sequence[int], list[int]]:
    """Return the rows that are new and the rows that contradict."""
    if not stored:
        return range(len(bars)), []
    new = [row for row, ts in enumerate(bars.ts) if ts not in stored]
    known = ((row, stored[ts]) for row, ts in enumerate(bars.ts) if ts in stored)
    return new, [row for row, bar in known if _contradicts(bars.bar(row), bar)]


def _contradicts(told: Bar, stored: Bar) -> bool:
    return any(value is not None and value != known for value, known in zip(told, stored, strict=True))


def _store(instance: StrategyInstance, provenance: Provenance, bars: SeriesRows, *, corrects: bool) -> int | None:
    if not bars.ts:
        return None
    world_id = instance.world_id
    revision = correcting_revision(world_id=world_id) if corrects else present_revision(world_id=world_id)
    if len(bars) <= LIVE_ROWS:
        TailRow.objects.bulk_create(_tail_rows(instance, provenance, bars, revision))
    else:
        Segment.objects.bulk_create(_segments(instance, provenance, bars, revision))
    return revision


def _tail_rows(
    instance: StrategyInstance, provenance: Provenance, bars: SeriesRows, revision: int
) -> Iterable[TailRow]:
    for row, ts in enumerate(bars.ts):
        ret, leverage, turnover, trades = bars.bar(row)
        yield TailRow(
            world_id=instance.world_id,
            instance=instance,
            ts=ts,
            provenance=provenance,
            revision=revision,
            ret=ret,
            leverage=leverage,
            turnover=turnover,
            trades=trades,
        )


def _segments(instance: StrategyInstance, provenance: Provenance, bars: SeriesRows, revision: int) -> Iterable[Segment]:
    for start in range(0, len(bars), SEGMENT_ROWS):
        part = bars.take(range(start, min(start + SEGMENT_ROWS, len(bars))))
        yield Segment(
            world_id=instance.world_id,
            instance=instance,
            first_ts=part.ts[0],
            last_ts=part.ts[-1],
            provenance=provenance,
            revision=revision,
            times=pack_times(part.ts),
            ret=pack_numbers(part.ret),
            leverage=pack_optional(part.leverage),
            turnover=pack_optional(part.turnover),
            trades=pack_optional(part.trades),
        )


def _extend(track: SeriesTrack, rows: SeriesRows, bars: SeriesRows) -> None:
    before = (track.pk, track.first_ts, track.last_ts, track.equity, track.equity_ts)
    if bars.ts:
        track.first_ts = min(bars.ts[0], bars.ts[0] if track.first_ts is None else track.first_ts)
        track.last_ts = max(bars.ts[-1], bars.ts[-1] if track.last_ts is None else track.last_ts)
    if rows.is_equity and (track.equity_ts is None or rows.ts[-1] >= track.equity_ts):
        track.equity, track.equity_ts = rows.ret[-1], rows.ts[-1]
    if before != (track.pk, track.first_ts, track.last_ts, track.equity, track.equity_ts) or track.pk is None:
        track.save()


def _refresh(instance: StrategyInstance, tracks: Iterable[SeriesTrack], rule: FreshnessRule | None) -> None:
    extents = [(track.provenance, track.first_ts, track.last_ts) for track in tracks]
    present = currency(extents, interval_seconds=instance.interval_seconds, rule=rule)
    if present != Currency(instance.first_data, instance.data_end, instance.fresh_until):
        instance.first_data, instance.data_end = present.first_data, present.data_end
        instance.fresh_until = present.fresh_until
        instance.save(update_fields=["first_data", "data_end", "fresh_until"])


def _audit_correction(instance: StrategyInstance, provenance: Provenance, times: list[datetime], act: Act) -> None:
    changed = {
        "provenance": provenance.value,
        "bar_count": len(times),
        "first": times[0].isoformat(),
        "last": times[-1].isoformat(),
    }
    record(chain=instance.world_id, kind="data.revised", act=act, subject=instance.key.text, after=changed)
