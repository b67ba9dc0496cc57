from __future__ import annotations

import math
from datetime import datetime, timedelta

import pytest

from qmtl_worlds.contracts.errors import InputInvalidError, SeriesConflictError
from strategies.models import Provenance
from strategies.selectors import reported_values
from strategies.services.append import SeriesTarget
from strategies.services.report import ReportedValues, ReportResult, report_metrics
from strategies.services.revision import pin_revision
from tests.strategies.factories import NOW, act, bind, world

pytestmark = pytest.mark.django_db
EVER = 2**60


@pytest.fixture(autouse=True)
def instance() -> int:
    """The only instance of world w1."""
    world()
    return bind("a")[0]


def report(values: dict[str, float], *, as_of: datetime = NOW, revise: bool = False) -> ReportResult:
    """Report metrics of strategy a."""
    target = SeriesTarget("w1", "a", Provenance.PAPER)
    return report_metrics(target=target, reported=ReportedValues(as_of, values, revise), act=act())


def test_reported_values_are_read_by_full_name_as_of_a_time(instance: int) -> None:
    report({"alpha": 1.0}, as_of=NOW - timedelta(days=2))
    report({"reported.alpha": 2.0, "hit_rate": 0.5}, as_of=NOW - timedelta(days=1))

    assert reported_values("w1", as_of=NOW - timedelta(days=2), revision=EVER) == {"reported.alpha": {instance: 1.0}}
    assert reported_values("w1", as_of=NOW, revision=EVER) == {
        "reported.alpha": {instance: 2.0},
        "reported.hit_rate": {instance: 0.5},
    }


def test_the_same_values_again_change_nothing() -> None:
    report({"alpha": 1.0})

    assert report({"alpha": 1.0, "beta": 2.0}) == ReportResult(stored=1, unchanged=1, revised=0, revision=1)
    assert report({"alpha": 1.0}).revision is None


def test_another_value_for_the_same_time_is_a_conflict_or_a_correction(instance: int) -> None:
    report({"alpha": 1.0})
    pinned = pin_revision(world_id="w1")

    with pytest.raises(SeriesConflictError):
        report({"alpha": 2.0})
    corrected = report({"alpha": 2.0}, revise=True)

    assert corrected.revised == 1
    assert reported_values("w1", as_of=NOW, revision=pinned) == {"reported.alpha": {instance: 1.0}}
    assert reported_values("w1", as_of=NOW, revision=EVER) == {"reported.alpha": {instance: 2.0}}


@pytest.mark.parametrize(
    "values",
    [{}, {"Alpha": 1.0}, {"a" * 64: 1.0}, {"alpha": math.nan}, {"alpha": math.inf}, {"a": 1.0, "reported.a": 1.0}],
)
def test_malformed_metrics_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(InputInvalidError):
        report(values)


@pytest.mark.parametrize("as_of", [NOW + timedelta(seconds=6), NOW.replace(tzinfo=None)])
def test_a_naive_or_future_time_is_refused(as_of: datetime) -> None:
    with pytest.raises(InputInvalidError, match="as_of"):
        report({"alpha": 1.0}, as_of=as_of)
