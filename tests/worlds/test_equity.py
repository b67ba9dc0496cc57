from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from django.contrib.auth.models import User

from qmtl_worlds.contracts.errors import (
    InputInvalidError,
    PermissionDeniedError,
    SeriesConflictError,
    SeriesInvalidError,
)
from tests.worlds.circuits import (
    MINUTE,
    limit,
    push,
    push_rows,
    told,
    tripped,
)
from tests.worlds.factories import act_of, make_world, person
from tests.worlds.steps import chain_is_whole
from tests.worlds.threads import together
from worlds.models import EquitySnapshot, World
from worlds.services.authority import act_of_token
from worlds.services.equity import Pushed, Snapshot
from worlds.services.tokens import create_token
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db


@pytest.fixture
def limited(world: World, alice: User, bob: User) -> World:
    """A world that may lose a tenth."""
    limit(world, alice, bob)
    return world


@pytest.mark.parametrize(
    ("minutes", "equity", "kind"),
    [
        ([-1, -2], 100.0, "non_monotonic"),
        ([-1, -1], 100.0, "non_monotonic"),
        ([-1, 1], 100.0, "future_timestamp"),
        ([-2, -1], 0.0, "equity"),
        ([-2, -1], -1.0, "equity"),
        ([-2, -1], float("nan"), "equity"),
        ([-2, -1], float("inf"), "equity"),
    ],
)
def test_row_that_cannot_be_is_refused_by_its_number(
    limited: World, minutes: list[int], equity: float, kind: str
) -> None:
    now = database_now()
    rows = [Snapshot(now + minutes[0] * MINUTE, 100.0), Snapshot(now + minutes[1] * MINUTE, equity)]

    with pytest.raises(SeriesInvalidError) as error:
        push_rows(limited, rows)

    assert (error.value.facts["row"], error.value.facts["kind"]) == (1, kind)
    assert not EquitySnapshot.objects.exists()


@pytest.mark.parametrize("field", ["leverage", "var_95"])
@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_risk_figure_that_cannot_be_is_refused(limited: World, field: str, value: float) -> None:
    with pytest.raises(SeriesInvalidError) as error:
        push_rows(limited, [Snapshot(database_now(), 100.0, **{field: value})])

    assert error.value.facts["kind"] == field


def test_snapshot_that_contradicts_a_stored_one_is_a_conflict_and_stores_nothing(limited: World) -> None:
    since = database_now() - timedelta(hours=1)
    push(limited, 100.0, since=since)

    with pytest.raises(SeriesConflictError):
        push(limited, 101.0, 102.0, since=since)

    assert EquitySnapshot.objects.count() == 1


def test_snapshot_before_the_last_one_is_refused(limited: World) -> None:
    push(limited, 100.0)

    with pytest.raises(SeriesInvalidError, match="before the last"):
        push(limited, 90.0, since=database_now() - timedelta(hours=1))


def test_push_of_nothing_is_refused(limited: World) -> None:
    with pytest.raises(InputInvalidError):
        push_rows(limited, [])


def test_token_of_some_strategies_speaks_for_no_portfolio(limited: World) -> None:
    made = create_token(role="submitter", name="s", strategies=["good"], act=act_of(person("root", "admin")))
    with pytest.raises(PermissionDeniedError):
        push(limited, 100.0, act=act_of_token(made.token, reason="test"))


@pytest.mark.django_db(transaction=True)
def test_two_who_report_the_same_breach_at_once_make_one_incident(alice: User, bob: User) -> None:
    world = make_world()
    limit(world, alice, bob)
    since = database_now() - timedelta(hours=1)

    answers = together([partial(push, world, 100.0, 70.0, since=since)] * 2)

    assert sorted(answer.stored for answer in answers if isinstance(answer, Pushed)) == [0, 2]
    assert tripped(world)
    assert told() == ["circuit.tripped"]
    assert chain_is_whole(world)
