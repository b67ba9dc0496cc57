from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmtl_worlds.contracts.errors import SeriesConflictError
from qmtl_worlds.metrics.bars import compound_bars
from strategies.lookup import stored_bars
from strategies.models import BarBlock, Provenance, Segment, TailRow
from strategies.rows import fetch_packed
from strategies.selectors import evaluation_bytes, get_instance
from strategies.services.revision import pin_revision
from strategies.services.withdraw import withdraw_strategy
from tests.strategies.factories import act, append, bars_of, bind, day, loaded, series, world
from worlds.work.panel_loader import load_bars, panel_of
from worlds.work.seal import merge_segments, seal_tail

pytestmark = pytest.mark.django_db

NAMES = ("a", "b", "c")
FOREVER = 2**40
Cells = dict[tuple[int, int], float]


def base_return(instance: int, number: int) -> float:
    """The return that every append of a bar repeats."""
    return (instance + 1) * (number + 1) / 1000


@dataclass
class Story:
    """What has been told so far, and what the panel must therefore show."""

    paper: Cells = field(default_factory=dict)
    live: Cells = field(default_factory=dict)
    pinned: list[tuple[int, list[str], Cells]] = field(default_factory=list)
    corrections: int = 0

    @property
    def shown(self) -> Cells:
        """Live bars over paper bars."""
        return self.paper | self.live

    def push(self, instance: int, days: list[int], *, is_live: bool, revise: bool) -> None:
        """Append or correct bars, as a Runner would."""
        told = self.live if is_live else self.paper
        self.corrections += revise
        shift = self.corrections if revise else 0
        rows = {number: base_return(instance, number) + shift for number in days}
        clash = any(told.get((instance, number), ret) != ret for number, ret in rows.items())
        provenance = Provenance.LIVE if is_live else Provenance.PAPER
        if clash and not revise:
            with pytest.raises(SeriesConflictError), transaction.atomic():
                append(NAMES[instance], series(rows), provenance=provenance)
            return
        append(NAMES[instance], series(rows), provenance=provenance, revise=revise)
        told.update({(instance, number): ret for number, ret in rows.items()})

    def pin(self, ids: list[int]) -> None:
        """Record an evaluation: from now on, what it saw must stay readable."""
        revision = pin_revision(world_id="w1")
        self.pinned.append((revision, digests_of(ids, revision=revision, verifies=False), self.shown))


def digests_of(ids: list[int], *, revision: int, verifies: bool) -> list[str]:
    """The digests of what evaluations of all instances, and of two in an order of their own, read."""
    parts = (ids, [ids[2], ids[0]])
    return [loaded(part, revision=revision).digest(verifies=verifies) for part in parts]


def cells_of(ids: list[int], *, revision: int | None = None) -> Cells:
    """What the panel shows."""
    bars = loaded(ids, revision=revision)
    return {(row, number): ret for row in range(len(ids)) for number, ret in bars_of(bars, row).items()}


pushes = st.tuples(
    st.just("push"),
    st.integers(0, len(NAMES) - 1),
    st.lists(st.integers(0, 12), min_size=1, max_size=9, unique=True).map(sorted),
    st.booleans(),
    st.booleans(),
)
moves = st.tuples(st.sampled_from(["seal", "merge", "pin"]))


@given(st.lists(st.one_of(pushes, pushes, moves), max_size=14))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.slow
def test_the_panel_shows_what_was_told_and_what_was_read_stays(steps: list[tuple[object, ...]]) -> None:
    with transaction.atomic():
        world()
        ids, story = bind(*NAMES), Story()

        for step in steps:
            match step:
                case ("push", int(instance), list(days), bool(is_live), bool(revise)):
                    story.push(instance, days, is_live=is_live, revise=revise)
                case ("seal",):
                    seal_tail(world_id="w1", before=FOREVER)
                case ("merge",):
                    merge_segments(world_id="w1")
                case _:
                    story.pin(ids)

        assert cells_of(ids) == story.shown
        for revision, digests, shown in story.pinned:
            assert digests_of(ids, revision=revision, verifies=True) == digests
            assert digests_of(ids, revision=revision, verifies=False) == digests
            assert cells_of(ids, revision=revision) == shown
        for instance, name in enumerate(NAMES):
            bars = stored_bars(get_instance("w1", name), provenance="live", first=0, last=FOREVER)
            assert {ts: bar[0] for ts, bar in bars.items()} == {
                day(number): ret for (owner, number), ret in sorted(story.live.items()) if owner == instance
            }
        transaction.set_rollback(True)


def test_rows_come_in_the_order_asked_for() -> None:
    world()
    ids = bind(*NAMES)
    for instance, name in enumerate(NAMES):
        append(name, series({1: float(instance), 2: float(instance)}))
    seal_tail(world_id="w1", before=FOREVER)

    bars = loaded([ids[2], ids[0]])

    assert bars.bars.returns[:, 0].tolist() == [2.0, 0.0]


def test_sealing_and_merging_leave_blocks_only_and_the_same_digest() -> None:
    world()
    ids = bind(*NAMES)
    for number, name in enumerate(NAMES):
        append(name, series({n: n / 100 for n in range(number, 20)}, leverage=[1.5] * (20 - number)))
        append(name, series({20: 0.2}, trades=[3.0]))
    before = loaded(ids).digest(verifies=True)

    moved = (seal_tail(world_id="w1", before=day(20)), merge_segments(world_id="w1"))

    assert moved == (3, 3)
    assert (TailRow.objects.count(), Segment.objects.count(), BarBlock.objects.count()) == (0, 0, 21)
    assert loaded(ids).digest(verifies=True) == before
    assert (seal_tail(world_id="w1", before=FOREVER), merge_segments(world_id="w1")) == (0, 0)


def test_bars_that_few_instances_share_are_left_where_they_are() -> None:
    world()
    ids = bind(*(f"s{number}" for number in range(40)))
    for number in range(3):
        append(f"s{number}", series({1: 0.1, 2 + number: 0.2}))

    moved = seal_tail(world_id="w1", before=FOREVER)

    assert (moved, BarBlock.objects.count(), TailRow.objects.count()) == (3, 1, 3)
    assert bars_of(loaded(ids), 2) == {1: 0.1, 4: 0.2}


def test_bars_after_the_bound_are_not_sealed() -> None:
    world()
    bind("a")
    append("a", series({1: 0.1, 2: 0.2}))

    moved = seal_tail(world_id="w1", before=day(1))

    assert (moved, TailRow.objects.get().ts) == (1, day(2))


def test_sent_again_after_sealing_bars_change_nothing() -> None:
    world()
    bind(*NAMES)
    rows = series({1: 0.1, 2: 0.2}, leverage=[2.0, 3.0])
    append("b", rows)
    append("c", series({2: 0.3}))
    seal_tail(world_id="w1", before=FOREVER)

    again = append("b", rows)

    assert (again.unchanged, again.revision) == (2, None)


def test_instances_that_left_are_not_in_the_panel() -> None:
    world()
    ids = bind("a", "b")
    append("a", series({1: 0.1}))
    append("b", series({1: 0.2, 2: 0.3}, leverage=[1.0, 1.0]))
    seal_tail(world_id="w1", before=FOREVER)
    withdraw_strategy(world_id="w1", strategy_id="b", act=act())

    bars = loaded(ids[:1])

    assert bars.bars.ts.tolist() == [day(1)]
    assert bars.bars.leverage is None


def test_optional_columns_are_nan_where_nobody_gave_them() -> None:
    world()
    ids = bind("a", "b")
    append("a", series(dict.fromkeys(range(8), 0.1), leverage=[2.0] * 8))
    append("b", series({1: 0.2}))

    bars = loaded(ids).bars

    assert bars.turnover is None
    assert bars.leverage is not None
    assert bars.leverage[0].tolist() == [2.0] * 8
    assert np.isnan(bars.leverage[1]).all()


def test_a_panel_is_cut_at_both_ends() -> None:
    world()
    ids = bind("a")
    append("a", series({n: n / 100 for n in range(10)}))

    bars = load_bars(evaluation_bytes("w1", first=day(3), last=day(5)), ids)

    assert bars_of(bars, 0) == {3: 0.03, 4: 0.04, 5: 0.05}
    assert (bars.first_close.tolist(), bars.last_close.tolist()) == ([day(3)], [day(5)])


def test_a_world_without_data_gives_an_empty_panel() -> None:
    world()

    bars = loaded(bind("a"))

    assert bars.bars.returns.shape == (1, 0)
    assert (bars.first_close.tolist(), bars.last_close.tolist()) == ([-1], [-1])


def test_daily_bars_fill_the_sessions_they_close() -> None:
    world()
    ids = bind("a", "b")
    append("a", series({1: 0.1, 3: 0.3}, trades=[1.0, 0.0]))
    closes = np.array([day(number) for number in range(1, 5)])

    panel = panel_of(loaded(ids), closes=closes, after=day(0))

    assert panel.returns.tolist()[0][::2] == [0.1, 0.3]
    assert np.isnan(panel.returns[0][1::2]).all()
    assert np.isnan(panel.returns[1]).all()
    assert panel.data_end is not None
    assert panel.data_end[0] == day(3)
    assert panel.last_trade is not None
    assert panel.last_trade[0] == day(1)


def test_daily_bars_taken_as_they_are_equal_compounded_ones() -> None:
    world()
    ids = bind("a", "b")
    append("a", series({n: (n - 5) / 50 for n in range(1, 11)}, leverage=[1.0 + n for n in range(10)]))
    append("b", series({n: n / 70 for n in range(2, 9)}, trades=[1.0] * 7))
    closes = np.array([day(number) for number in range(1, 11)])
    bars = loaded(ids)

    taken = panel_of(bars, closes=closes, after=day(0))

    compounded = compound_bars(bars.bars, closes=closes, after=day(0))
    for name in ("returns", "leverage", "trades", "data_end", "last_trade"):
        assert np.array_equal(getattr(taken, name), getattr(compounded, name), equal_nan=True)


def test_bars_that_move_while_they_are_read_are_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    world()
    ids = bind("a", "b")
    append("a", series({1: 0.1}))
    append("b", series({n: n / 100 for n in range(1, 9)}))
    before = loaded(ids).digest(verifies=True)

    def fetch_then_move(sql: str, parameters: Sequence[str | int]) -> list[tuple[Any, ...]]:
        found = fetch_packed(sql, parameters)
        seal_tail(world_id="w1", before=FOREVER)
        merge_segments(world_id="w1")
        return found

    monkeypatch.setattr("strategies.selectors.fetch_packed", fetch_then_move)

    assert loaded(ids).digest(verifies=True) == before
    assert (TailRow.objects.count(), Segment.objects.count()) == (0, 0)
