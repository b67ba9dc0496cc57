from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmtl_worlds.contracts.errors import StrategyNotFoundError
from qmtl_worlds.contracts.ids import Side
from strategies.models import SeriesHead, StrategyInstance
from strategies.register import candidates, side_code
from strategies.rows import fetch_packed
from strategies.services.bind import Binding, bind_strategies
from strategies.services.roster import set_roster
from strategies.services.withdraw import withdraw_strategy
from tests.strategies.factories import act, append, bind, day, series, world

pytestmark = pytest.mark.django_db

NAMES = ("a", "b", "c")
Row = tuple[Any, ...]


def stamp() -> str:
    """What the world's register is remembered by."""
    return SeriesHead.objects.get(pk="w1").register_stamp


def as_read() -> list[Row]:
    """The candidates as an evaluation reads them."""
    found = candidates("w1")
    ends = [None if math.isnan(end) else end for end in found.fresh_until]
    columns = (found.instances, found.keys, found.sides, found.sectors, found.interval_seconds, found.bound_at, ends)
    return list(zip(*columns, strict=True))


def as_stored() -> list[Row]:
    """The same from the rows themselves."""
    return [
        (
            row.pk,
            row.key.text,
            side_code(row.key.side),
            row.sector or None,
            row.interval_seconds,
            row.bound_at.timestamp(),
            row.fresh_until.timestamp() if row.fresh_until else None,
        )
        for row in StrategyInstance.objects.filter(world_id="w1", withdrawn_at=None, wanted=True).order_by("id")
    ]


def take(step: tuple[Any, ...]) -> None:
    """Carry out one change of the register, or of how far its data reaches."""
    match step:
        case ("bind", name, sector, interval, number):
            binding = Binding(name, params={"n": number}, sector=sector, interval_seconds=interval)
            bind_strategies(world_id="w1", bindings=[binding], act=act())
        case ("withdraw", name):
            withdraw_strategy(world_id="w1", strategy_id=name, act=act())
        case ("roster", names):
            set_roster(world_id="w1", strategies=names, act=act())
        case _:
            append(step[1], series({step[2]: 0.01}))


names = st.sampled_from(NAMES)
bindings = st.tuples(
    st.just("bind"), names, st.sampled_from(["tech", "energy"]), st.sampled_from([3600, 86_400]), st.integers(1, 2)
)
others = st.one_of(
    st.tuples(st.just("withdraw"), names),
    st.tuples(st.just("roster"), st.lists(names, unique=True)),
    st.tuples(st.just("push"), names, st.integers(0, 9)),
)


@given(st.lists(st.one_of(bindings, others), max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.slow
def test_candidates_are_what_the_rows_say_after_every_change(steps: list[tuple[Any, ...]]) -> None:
    with transaction.atomic():
        world()

        for step in steps:
            try:
                take(step)
            except StrategyNotFoundError:
                continue
            assert as_read() == as_stored()

        transaction.set_rollback(True)


def test_an_unknown_world_has_no_candidates() -> None:
    assert as_read() == []


def test_the_register_is_read_again_only_once_it_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    world()
    bind("a", "b")
    candidates("w1")
    asked: list[str] = []

    def fetch(sql: str, parameters: Sequence[str | int]) -> list[tuple[Any, ...]]:
        asked.append(sql)
        return fetch_packed(sql, parameters)

    monkeypatch.setattr("strategies.register.fetch_packed", fetch)
    append("a", series({1: 0.1}))
    known = as_read()
    bind_strategies(world_id="w1", bindings=[Binding("a", Side.LONG, sector="energy")], act=act())
    changed = as_read()

    assert ["sector" in sql for sql in asked] == [False, True]
    assert (known[0][3], changed[0][3]) == (None, "energy")
    assert known[0][-1] > day(1)


def test_what_changes_nothing_leaves_the_stamp() -> None:
    world()
    bind("a")
    before = stamp()

    bind("a")
    set_roster(world_id="w1", strategies=["a"], act=act())
    append("a", series({1: 0.1}))

    assert before
    assert stamp() == before


def test_rows_that_no_service_wrote_are_seen_where_they_add_or_remove() -> None:
    world()
    first, _ = bind("a", "b")
    candidates("w1")

    StrategyInstance.objects.filter(pk=first).update(wanted=False)

    assert as_read() == as_stored()


def test_a_world_without_a_stamp_is_read_in_full() -> None:
    world()
    bind("a")
    SeriesHead.objects.update(register_stamp="")

    found = as_read()

    assert found == as_stored()
    assert len(found) == 1
