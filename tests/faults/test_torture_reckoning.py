from __future__ import annotations

import pytest
from django.db import transaction
from pytest_django import DjangoAssertNumQueries

from tests.worlds.factories import make_world
from torture.reckoning import gap_in_outbox
from worlds.models import OutboxEvent, World
from worlds.services.changes import VisibleChange, announce_all

pytestmark = pytest.mark.django_db


@pytest.fixture
def told() -> World:
    """A world that has told of being made, and of three things since."""
    world = make_world()
    changes = [VisibleChange("alert", {"number": number}) for number in range(3)]
    with transaction.atomic():
        announce_all(world, changes, now=world.created_at)
    return world


def test_everything_told_is_no_gap(told: World) -> None:
    assert told.sequence == 4
    assert gap_in_outbox(told.id) is None


@pytest.mark.parametrize(
    ("lost", "found"), [(1, (2, 4, 3)), (2, (1, 4, 3)), (4, (1, 3, 3))], ids=["first", "between", "last"]
)
def test_a_row_that_is_lost_is_a_gap(told: World, lost: int, found: tuple[int, int, int]) -> None:
    OutboxEvent.objects.filter(world=told, sequence=lost).delete()

    first, last, rows = found
    assert gap_in_outbox(told.id) == {"sequence": 4, "first": first, "last": last, "rows": rows}


def test_what_the_tick_tells_meanwhile_is_no_gap(
    told: World, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):  # nothing can come between the sequence and its rows
        assert gap_in_outbox(told.id) is None
