from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.ids import Side
from qmtl_worlds.lifecycle.calendar import Calendar
from strategies.freshness import FreshnessRule
from strategies.models import Provenance
from strategies.selectors import evaluation_bytes, get_instance
from strategies.series import SeriesRows
from strategies.services.append import IngestResult, SeriesTarget, append_returns
from strategies.services.bind import Binding, bind_strategies
from worlds.models import World
from worlds.work.panel_loader import LoadedBars, load_bars

NOW = datetime(2026, 3, 6, 22, 0, tzinfo=UTC)
DAY = 86_400
FIRST_DAY = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
RULE = FreshnessRule(max_lag=timedelta(minutes=5), calendar=Calendar.load("24/7"))


def act(*, actor: str = "token:runner", now: datetime = NOW) -> Act:
    """An act of a machine."""
    return Act(actor=actor, reason="test", now=now)


def world(world_id: str = "w1") -> World:
    """A world with nothing in it."""
    return World.objects.create(id=world_id, created_at=NOW, changed_at=NOW)


def bind(*names: str, world_id: str = "w1", side: Side = Side.LONG) -> list[int]:
    """Bind strategies and return the ids of their instances."""
    bindings = [Binding(name, side) for name in names]
    bind_strategies(world_id=world_id, bindings=bindings, act=act())
    return [get_instance(world_id, name, side).pk for name in names]


def day(number: int) -> int:
    """The close of a day in epoch seconds, counted from the first one."""
    return FIRST_DAY + number * DAY


def series(
    values: Mapping[int, float], *, leverage: Sequence[float] | None = None, trades: Sequence[float] | None = None
) -> SeriesRows:
    """Rows from day number -> return."""
    return SeriesRows(
        ts=array("q", [day(number) for number in values]),
        ret=array("d", values.values()),
        leverage=None if leverage is None else array("d", leverage),
        trades=None if trades is None else array("d", trades),
    )


def append(
    name: str,
    rows: SeriesRows,
    *,
    provenance: Provenance = Provenance.PAPER,
    side: Side | None = None,
    revise: bool = False,
    rule: FreshnessRule | None = RULE,
) -> IngestResult:
    """Append rows to a strategy of world w1."""
    target = SeriesTarget("w1", name, provenance, side)
    return append_returns(target=target, rows=rows, revise=revise, rule=rule, act=act())


def loaded(
    instances: Sequence[int], *, revision: int | None = None, provenance: frozenset[str] | None = None
) -> LoadedBars:
    """Load every bar of world w1."""
    sources = frozenset({"paper", "live"}) if provenance is None else provenance
    return load_bars(evaluation_bytes("w1", first=0, last=2**40, revision=revision, provenance=sources), instances)


def bars_of(bars: LoadedBars, row: int) -> dict[int, float]:
    """Day number -> return of one row of a panel."""
    pairs = zip(bars.bars.ts.tolist(), bars.bars.returns[row].tolist(), strict=True)
    return {(ts - FIRST_DAY) // DAY: ret for ts, ret in pairs if ret == ret}  # noqa: PLR0124
