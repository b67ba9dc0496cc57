from __future__ import annotations

import math

import pytest

from audit.models import AuditEvent
from qmtl_worlds.contracts.errors import InputInvalidError, StrategyNotFoundError
from qmtl_worlds.contracts.ids import InstanceKey, Side
from strategies.models import StrategyInstance
from strategies.register import candidates
from strategies.selectors import get_instance
from strategies.services.bind import Binding, BindResult, bind_strategies
from strategies.services.withdraw import withdraw_strategy
from tests.strategies.factories import act, append, bars_of, loaded, series, world

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _world() -> None:
    world()


def bind(*bindings: Binding) -> BindResult:
    """Bind to world w1."""
    return bind_strategies(world_id="w1", bindings=bindings, act=act())


def key(name: str, side: Side = Side.LONG) -> InstanceKey:
    """An instance's name."""
    return InstanceKey(name, side)


def test_binding_makes_an_instance_for_each_side() -> None:
    result = bind(Binding("a"), Binding("a", Side.SHORT, params={"n": 3}, sector="tech", tags=["x"]))

    assert result.bound == (key("a"), key("a", Side.SHORT))
    short = get_instance("w1", "a", Side.SHORT)
    assert (short.params, short.sector, short.tags, short.submitted_by) == ({"n": 3}, "tech", ["x"], "token:runner")
    assert candidates("w1").keys == ("a|long", "a|short")


def test_the_same_binding_again_changes_nothing() -> None:
    bind(Binding("a", params={"n": 3}, sector="tech"))

    result = bind(Binding("a", params={"n": 3}), Binding("a", params={"n": 3}))

    assert result == BindResult((), (), (), (key("a"),))
    assert AuditEvent.objects.count() == 1


def test_a_bare_name_keeps_params_and_details() -> None:
    bind(Binding("a", params={"n": 3}, sector="tech"))

    result = bind(Binding("a"))

    assert result.unchanged == (key("a"),)
    assert get_instance("w1", "a").params == {"n": 3}


def test_other_params_withdraw_the_old_instance_and_start_afresh() -> None:
    bind(Binding("a", params={"n": 3}, sector="tech"))
    append("a", series({1: 0.1}))
    old = get_instance("w1", "a")

    result = bind(Binding("a", params={"n": 4}))

    new = get_instance("w1", "a")
    old.refresh_from_db()
    assert result.rebound == (key("a"),)
    assert (old.withdrawn_at, new.withdrawn_at) == (act().now, None)
    assert (new.sector, new.data_end) == ("tech", None)
    assert bars_of(loaded([new.pk]), 0) == {}
    assert bars_of(loaded([old.pk]), 0) == {1: 0.1}


def test_other_details_update_the_instance() -> None:
    bind(Binding("a"))

    result = bind(Binding("a", sector="energy", tags=["t"], interval_seconds=3600))

    instance = get_instance("w1", "a")
    assert result.updated == (key("a"),)
    assert (instance.sector, instance.tags, instance.interval_seconds) == ("energy", ["t"], 3600)


def test_binding_again_after_withdrawal_makes_a_new_instance() -> None:
    bind(Binding("a"))
    withdraw_strategy(world_id="w1", strategy_id="a", act=act())

    result = bind(Binding("a"))

    assert result.bound == (key("a"),)
    assert StrategyInstance.objects.count() == 2


@pytest.mark.parametrize(
    ("binding", "field"),
    [
        (Binding("a b"), "strategies[0].strategy_id"),
        (Binding("a\x00"), "strategies[0].strategy_id"),
        (Binding("a", params={"x": math.nan}), "strategies[0].params"),
        (Binding("a", params={"x": "\x00"}), "strategies[0].params"),
        (Binding("a", params={"x": "\ud800"}), "strategies[0].params"),
        (Binding("a", params={"x": "y" * 20_000}), "strategies[0].params"),
        (Binding("a", sector="x\x00"), "strategies[0].sector"),
        (Binding("a", sector="\ud800"), "strategies[0].sector"),
        (Binding("a", sector="x" * 65), "strategies[0].sector"),
        (Binding("a", tags=["t"] * 33), "strategies[0].tags"),
        (Binding("a", tags=["t\n"]), "strategies[0].tags[0]"),
        (Binding("a", interval_seconds=0), "strategies[0].interval_seconds"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_field(binding: Binding, field: str) -> None:
    with pytest.raises(InputInvalidError) as refused:
        bind(binding)

    assert refused.value.facts["field"] == field
    assert StrategyInstance.objects.count() == 0


def test_one_instance_in_two_ways_is_refused() -> None:
    with pytest.raises(InputInvalidError, match="again with other details"):
        bind(Binding("a", sector="x"), Binding("a", sector="y"))


def test_withdrawing_takes_both_sides_unless_one_is_named() -> None:
    bind(Binding("a"), Binding("a", Side.SHORT), Binding("b"), Binding("b", Side.SHORT))

    both = withdraw_strategy(world_id="w1", strategy_id="a", act=act())
    one = withdraw_strategy(world_id="w1", strategy_id="b", side=Side.SHORT, act=act())

    assert both == (key("a"), key("a", Side.SHORT))
    assert one == (key("b", Side.SHORT),)
    assert candidates("w1").keys == ("b|long",)
    assert AuditEvent.objects.filter(kind="strategy.unbound").count() == 3


def test_withdrawing_what_is_not_bound_is_refused() -> None:
    with pytest.raises(StrategyNotFoundError):
        withdraw_strategy(world_id="w1", strategy_id="a", act=act())
