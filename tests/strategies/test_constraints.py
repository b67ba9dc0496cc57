from __future__ import annotations

import math

import pytest
from django.db import DatabaseError, IntegrityError, transaction

from strategies.models import ReportedMetric, SeriesTrack, StrategyInstance, TailRow
from tests.strategies.factories import NOW, bind, day, world

pytestmark = pytest.mark.django_db
NOT_FINITE = (math.nan, math.inf, -math.inf)


@pytest.fixture
def instance() -> int:
    """The only instance of world w1."""
    world()
    return bind("a")[0]


@pytest.mark.parametrize("value", [*NOT_FINITE, -1.01])
def test_the_database_refuses_a_return_that_is_none(instance: int, value: float) -> None:
    row = TailRow(world_id="w1", instance_id=instance, ts=day(1), provenance="paper", revision=1, ret=value)

    with pytest.raises(DatabaseError), transaction.atomic():
        row.save()

    assert TailRow.objects.count() == 0


@pytest.mark.parametrize("column", ["leverage", "turnover", "trades"])
@pytest.mark.parametrize("value", [math.inf, -0.5])
def test_the_database_refuses_amounts_that_are_none(instance: int, column: str, value: float) -> None:
    row = TailRow(world_id="w1", instance_id=instance, ts=day(1), provenance="paper", revision=1, ret=0.0)
    setattr(row, column, value)

    with pytest.raises(DatabaseError), transaction.atomic():
        row.save()

    assert TailRow.objects.count() == 0


@pytest.mark.parametrize("value", NOT_FINITE)
def test_the_database_refuses_a_reported_value_that_is_none(instance: int, value: float) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        ReportedMetric.objects.create(instance_id=instance, name="alpha", as_of=NOW, revision=1, value=value)

    assert ReportedMetric.objects.count() == 0


@pytest.mark.parametrize("value", [math.inf, 0.0])
def test_the_database_refuses_an_equity_that_is_none(instance: int, value: float) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        SeriesTrack.objects.create(instance_id=instance, provenance="paper", equity=value)

    assert SeriesTrack.objects.count() == 0


def test_the_database_keeps_one_current_instance_of_a_side(instance: int) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        StrategyInstance.objects.create(world_id="w1", strategy_id="a", side="long", bound_at=NOW)

    assert StrategyInstance.objects.count() == 1


def test_the_database_keeps_one_version_of_a_bar_under_one_revision(instance: int) -> None:
    row = {"world_id": "w1", "instance_id": instance, "ts": day(1), "provenance": "paper", "revision": 1}
    TailRow.objects.create(**row, ret=0.1)

    with pytest.raises(IntegrityError), transaction.atomic():
        TailRow.objects.create(**row, ret=0.2)

    assert TailRow.objects.get().ret == 0.1
