from __future__ import annotations

from array import array
from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User

from qmtl_worlds.contracts.ids import Side
from strategies.models import Provenance, StrategyInstance
from strategies.series import SeriesRows
from strategies.services.append import SeriesTarget
from tests.worlds.circuits import limit, open_alerts, push_rows, reset, told, tripped
from tests.worlds.factories import LAST_CLOSE, act_of, person, shell
from tests.worlds.steps import first_apply
from worlds.models import CircuitState, GateHold, World
from worlds.services.binding import ingest
from worlds.services.equity import Snapshot
from worlds.services.holds import freeze
from worlds.stores.clock import database_now
from worlds.work.risk import exposures_of, watch_circuits

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
TIGHT = "{max_drawdown: 0.05}"


def earn(world: World, day: int, returns: Mapping[str, float]) -> None:
    """Push one bar for each named strategy, ``day`` days after the last close."""
    close = int((LAST_CLOSE + day * DAY).timestamp())
    for strategy_id, value in returns.items():
        rows = SeriesRows(ts=array("q", [close]), ret=array("d", [value]), leverage=array("d", [1.5]))
        target = SeriesTarget(world.id, strategy_id, Provenance.BACKTEST, Side.LONG)
        ingest(target=target, rows=rows, revise=False, act=shell())


def blind(world: World) -> bool:
    """Tell whether the world is held because its circuit cannot see."""
    return GateHold.objects.filter(world=world, kind="stale_risk").exists()


def modelled() -> CircuitState:
    """What the circuit remembers."""
    return CircuitState.objects.get()


@pytest.fixture
def trading(world: World, alice: User, bob: User) -> World:
    """``good`` and ``better`` trade with 0.3 of the capital each, under a limit on drawdown."""
    limit(world, alice, bob, TIGHT)
    first_apply(world, alice, bob)
    return world


@pytest.fixture
def watched(trading: World) -> World:
    """The circuit has been watched since the last close."""
    watch_circuits(now=LAST_CLOSE)
    watch_circuits(now=LAST_CLOSE)
    return trading


def test_implied_equity_is_the_sum_of_weights_times_returns_compounded(watched: World) -> None:
    for day, returns in enumerate([(0.02, -0.01), (-0.04, 0.03)], start=1):
        earn(watched, day, dict(zip(("good", "better"), returns, strict=True)))
        watch_circuits(now=LAST_CLOSE + day * DAY)

    # 0.3 * 0.02 - 0.3 * 0.01 = 0.003; -0.3 * 0.04 + 0.3 * 0.03 = -0.003
    state = modelled()
    assert state.modelled["equity"] == pytest.approx(1.003 * 0.997)
    assert state.high_water == pytest.approx(1.003)
    assert state.high_water_at == LAST_CLOSE + DAY
    assert state.modelled["drawdown"] == pytest.approx(0.003)
    assert not tripped(watched)


def test_weights_count_for_the_share_of_the_bar_in_which_they_were_permitted(trading: World) -> None:
    watch_circuits(now=LAST_CLOSE + DAY / 4)
    watch_circuits(now=LAST_CLOSE + DAY / 4)
    earn(trading, 1, {"good": 0.10, "better": 0.0})

    watch_circuits(now=LAST_CLOSE + DAY)

    assert modelled().modelled["equity"] == pytest.approx(1 + 0.75 * 0.3 * 0.10)


def test_gate_that_takes_exits_only_keeps_what_is_held(watched: World, alice: User) -> None:
    freeze(world_id=watched.id, act=act_of(alice))
    watch_circuits(now=LAST_CLOSE + DAY / 2)
    earn(watched, 1, {"good": -0.02, "better": 0.0})

    watch_circuits(now=LAST_CLOSE + DAY)

    assert modelled().modelled["equity"] == pytest.approx(1 - 0.3 * 0.02)


def test_bar_waits_until_everybody_who_is_due_has_come(watched: World) -> None:
    earn(watched, 1, {"good": -0.02})
    watch_circuits(now=LAST_CLOSE + DAY)
    before = modelled().modelled.get("equity")
    earn(watched, 1, {"better": -0.04})

    watch_circuits(now=LAST_CLOSE + DAY)

    assert before is None
    assert modelled().modelled["equity"] == pytest.approx(1 - 0.3 * 0.02 - 0.3 * 0.04)


def test_two_implied_breaches_trip_and_one_does_not(watched: World) -> None:
    earn(watched, 1, {"good": -0.1, "better": -0.1})
    watch_circuits(now=LAST_CLOSE + DAY)
    before = tripped(watched)
    earn(watched, 2, {"good": 0.0, "better": 0.0})

    watch_circuits(now=LAST_CLOSE + 2 * DAY)

    assert not before
    assert tripped(watched)


def test_looking_again_counts_no_bar_twice_and_writes_nothing(watched: World) -> None:
    earn(watched, 1, {"good": -0.1, "better": -0.1})
    watch_circuits(now=LAST_CLOSE + DAY)
    before = modelled()

    watch_circuits(now=LAST_CLOSE + DAY)
    watch_circuits(now=LAST_CLOSE + DAY)

    assert modelled().changed_at == before.changed_at
    assert modelled().modelled == before.modelled


def test_snapshot_rules_over_what_is_implied_while_it_is_fresh(watched: World) -> None:
    push_rows(watched, [Snapshot(LAST_CLOSE, 100.0)])
    earn(watched, 1, {"good": -0.5, "better": -0.5})

    watch_circuits(now=LAST_CLOSE + DAY)

    state = modelled()
    assert state.modelled["equity"] == pytest.approx(70.0)
    assert state.high_water == 100.0
    assert not tripped(watched)


def test_first_snapshot_keeps_the_drawdown_that_was_implied_before(watched: World) -> None:
    earn(watched, 1, {"good": -0.1, "better": 0.0})
    watch_circuits(now=LAST_CLOSE + DAY)

    push_rows(watched, [Snapshot(LAST_CLOSE + 1.5 * DAY, 9_700.0)])

    assert modelled().high_water == pytest.approx(10_000.0)
    assert modelled().last_sample["drawdown"] == pytest.approx(0.03)


def test_var_and_leverage_of_the_present_weights_are_computed(trading: World, alice: User, bob: User) -> None:
    limit(trading, alice, bob, "{var_95: 0.5, max_leverage: 0.8}")
    earn(trading, 1, {"good": 0.0, "better": 0.0})

    for _ in range(3):
        watch_circuits(now=LAST_CLOSE + DAY)

    state = modelled()
    assert state.modelled["leverage"] == pytest.approx(0.3 * 1.5 + 0.3 * 1.5)
    assert 0 < state.modelled["var_95"] < 0.05
    assert not blind(trading)


def test_breach_of_computed_leverage_is_confirmed_by_the_next_bar(trading: World, alice: User, bob: User) -> None:
    limit(trading, alice, bob, "{max_leverage: 0.5}")
    watch_circuits(now=LAST_CLOSE)
    watch_circuits(now=LAST_CLOSE)
    before = tripped(trading)
    earn(trading, 1, {"good": 0.0, "better": 0.0})

    watch_circuits(now=LAST_CLOSE + DAY)

    assert not before
    assert tripped(trading)


def test_limit_that_nobody_measures_holds_the_world(trading: World, alice: User, bob: User) -> None:
    StrategyInstance.objects.filter(strategy_id="good").update(data_end=LAST_CLOSE - 400 * DAY)
    limit(trading, alice, bob, "{var_95: 0.5}")
    text = trading.policy.text if trading.policy else ""
    assert "min_obs: 5" in text

    CircuitState.objects.all().delete()
    watch_circuits(now=LAST_CLOSE - 395 * DAY)
    watch_circuits(now=LAST_CLOSE - 395 * DAY)

    assert modelled().modelled["var_95"] is None
    assert blind(trading)


def test_input_that_does_not_come_holds_and_lets_go_when_it_comes(trading: World, alice: User, bob: User) -> None:
    limit(trading, alice, bob, TIGHT, max_lag="1d")
    start = database_now()
    watch_circuits(now=start)
    watch_circuits(now=start + DAY)
    fresh = blind(trading)
    watch_circuits(now=start + 1.1 * DAY)
    held, alerts = blind(trading), open_alerts(trading)

    push_rows(trading, [Snapshot(database_now(), 100.0)])

    assert (fresh, held) == (False, True)
    assert ("risk_input_stale", "") in alerts
    assert not blind(trading)
    assert told() == ["circuit.input_stale", "circuit.input_fresh"]
    assert ("risk_input_stale", "") not in open_alerts(trading)


def test_input_that_stays_away_latches(trading: World, alice: User, bob: User) -> None:
    limit(trading, alice, bob, TIGHT, max_lag="1d")
    start = database_now()
    watch_circuits(now=start)
    watch_circuits(now=start + 10 * DAY)
    before = tripped(trading)

    watch_circuits(now=start + 10.1 * DAY)
    watch_circuits(now=start + 11 * DAY)

    assert not before
    assert tripped(trading)
    assert blind(trading)
    assert told() == ["circuit.input_stale", "circuit.tripped"]


def test_reset_after_a_latch_gives_the_input_time_to_come_back(trading: World, alice: User, bob: User) -> None:
    limit(trading, alice, bob, TIGHT, max_lag="1d")
    start = database_now()
    watch_circuits(now=start - 11 * DAY)
    watch_circuits(now=start)
    held = tripped(trading)

    reset(trading, person("ruth", "risk"))
    watch_circuits(now=start + DAY)

    assert held
    assert not tripped(trading)
    assert blind(trading)


def test_world_that_holds_nothing_needs_no_input(world: World, alice: User, bob: User) -> None:
    limit(world, alice, bob, TIGHT, max_lag="1d")
    start = database_now()

    for days in (0, 1, 20):
        watch_circuits(now=start + days * DAY)

    assert not blind(world)
    assert not tripped(world)


def test_policy_without_a_circuit_lets_go_of_the_input_hold(trading: World, alice: User, bob: User) -> None:
    limit(trading, alice, bob, TIGHT, max_lag="1d")
    start = database_now()
    watch_circuits(now=start)
    watch_circuits(now=start + 2 * DAY)
    held = blind(trading)
    World.objects.filter(pk=trading.pk).update(policy=trading.policies.get(version=1))

    watch_circuits(now=start + 2 * DAY)

    assert held
    assert not blind(trading)


def test_exposures_are_forgotten_once_no_bar_reaches_back_to_them(watched: World) -> None:
    for day in range(1, 20):
        earn(watched, day, {"good": 0.001 * day, "better": 0.0})
        watch_circuits(now=LAST_CLOSE + day * DAY)

    assert len(exposures_of(modelled()).entries) == 1


def test_suspended_and_replayed_worlds_are_not_watched(trading: World) -> None:
    World.objects.filter(pk=trading.pk).update(state="SUSPENDED")

    watch_circuits(now=datetime.now(tz=LAST_CLOSE.tzinfo))

    assert not CircuitState.objects.exists()
