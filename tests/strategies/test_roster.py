from __future__ import annotations

import pytest

from audit.models import AuditEvent
from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.ids import InstanceKey, Side
from strategies.register import candidates
from strategies.selectors import get_roster
from strategies.services.roster import RosterChange, set_roster
from tests.strategies.factories import act, bind, world

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _world() -> None:
    world()


def choose(*names: str) -> RosterChange:
    """Set the roster of world w1."""
    return set_roster(world_id="w1", strategies=names, act=act())


def long(name: str) -> InstanceKey:
    """The long side of a strategy."""
    return InstanceKey(name, Side.LONG)


def test_without_a_roster_all_bound_strategies_are_candidates() -> None:
    bind("b", "a")

    assert get_roster("w1") is None
    assert candidates("w1").keys == ("b|long", "a|long")


def test_a_roster_keeps_its_order_and_says_who_left() -> None:
    bind("a", "b", "c")

    change = choose("c", "a", "c")

    assert change == RosterChange(("c", "a"), joined=(), left=(long("b"),))
    assert get_roster("w1") == ("c", "a")
    assert candidates("w1").keys == ("a|long", "c|long")


def test_the_next_roster_says_who_joined() -> None:
    bind("a", "b")
    choose("a")

    change = choose("b")

    assert (change.joined, change.left) == ((long("b"),), (long("a"),))


def test_an_empty_roster_wants_nobody() -> None:
    bind("a")

    choose()

    assert get_roster("w1") == ()
    assert candidates("w1").keys == ()


def test_a_strategy_is_wanted_once_it_is_bound_if_the_roster_names_it() -> None:
    choose("late")

    bind("late", "other")

    assert candidates("w1").keys == ("late|long",)


def test_the_same_roster_again_is_no_event() -> None:
    choose("a")
    choose("a")

    assert [event.after for event in AuditEvent.objects.filter(kind="roster.replaced")] == [["a"]]


def test_a_malformed_id_is_refused() -> None:
    with pytest.raises(InputInvalidError, match=r"strategies\[1\]"):
        choose("a", "b c")
