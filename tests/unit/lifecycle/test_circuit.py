from __future__ import annotations

from datetime import timedelta

import pytest

from qmtl_worlds.lifecycle.circuit import (
    CircuitState,
    CircuitStep,
    HighWaterMark,
    Limits,
    RiskInput,
    RiskSample,
    drawdown,
    judge_sample,
    raised,
    reset,
    risk_input,
)
from tests.unit.lifecycle.runs import NOW

LIMITS = Limits(max_drawdown=0.10, var_95=0.03, max_leverage=2.0)
MINUTE = timedelta(minutes=1)


def judge_all(*drawdowns: float, limits: Limits = LIMITS) -> CircuitStep:
    step = CircuitStep(CircuitState(), (), (), trips=False)
    for minute, value in enumerate(drawdowns):
        step = judge_sample(limits, step.state, RiskSample(NOW + minute * MINUTE, drawdown=value))
    return step


def test_second_breaching_sample_in_a_row_trips() -> None:
    assert not judge_all(0.11).trips
    assert judge_all(0.11, 0.12).trips


def test_sample_at_its_limit_does_not_breach() -> None:
    assert not judge_all(0.10, 0.10, 0.10).trips


def test_sample_within_limits_starts_the_count_anew() -> None:
    assert not judge_all(0.11, 0.09, 0.11).trips


def test_samples_of_different_measures_confirm_each_other() -> None:
    first = judge_sample(LIMITS, CircuitState(), RiskSample(NOW, drawdown=0.11))
    second = judge_sample(LIMITS, first.state, RiskSample(NOW + MINUTE, var_95=0.04))

    assert second.trips
    assert [breach.measure for breach in second.breaches] == ["var_95"]


@pytest.mark.parametrize("earlier", [timedelta(), MINUTE])
def test_sample_that_is_not_newer_confirms_nothing(earlier: timedelta) -> None:
    first = judge_sample(LIMITS, CircuitState(), RiskSample(NOW, drawdown=0.11))
    again = judge_sample(LIMITS, first.state, RiskSample(NOW - earlier, drawdown=0.11))

    assert not again.trips
    assert (again.state.breaching_count, again.state.last_ts) == (1, NOW)


@pytest.mark.parametrize("value", [0.20, 0.5, float("inf"), float("nan")])
def test_twice_the_limit_trips_at_once(value: float) -> None:
    assert judge_all(value).trips


def test_limit_of_zero_trips_on_anything_above_it() -> None:
    limits = Limits(max_leverage=0.0)

    assert judge_sample(limits, CircuitState(), RiskSample(NOW, leverage=0.1)).trips
    assert not judge_sample(limits, CircuitState(), RiskSample(NOW, leverage=0.0)).breaches


def test_confirmation_can_take_any_number_of_samples() -> None:
    limits = Limits(max_drawdown=0.10, confirm_samples=3)

    assert not judge_all(0.11, 0.11, limits=limits).trips
    assert judge_all(0.11, 0.11, 0.11, limits=limits).trips


def test_tripped_circuit_stays_so_and_trips_only_once() -> None:
    step = judge_all(0.5, 0.5, 0.0)

    assert step.state.tripped
    assert not step.trips
    assert not judge_all(0.5, 0.5).trips


def test_reset_circuit_counts_anew_and_does_not_count_old_samples_again() -> None:
    state = reset(judge_all(0.11, 0.12).state)

    again = judge_sample(LIMITS, state, RiskSample(NOW + MINUTE, drawdown=0.12))

    assert not state.tripped
    assert not again.trips


def test_warning_comes_once_until_the_measure_was_lower_again() -> None:
    assert [one.measure for one in judge_all(0.085).warnings] == ["max_drawdown"]
    assert judge_all(0.085, 0.09).warnings == ()
    assert [one.measure for one in judge_all(0.085, 0.07, 0.085).warnings] == ["max_drawdown"]


def test_limit_or_measure_that_is_not_given_is_not_tested() -> None:
    assert not judge_sample(Limits(), CircuitState(), RiskSample(NOW, 9.0, 9.0, 9.0)).breaches
    assert not judge_sample(LIMITS, CircuitState(), RiskSample(NOW)).breaches


def test_drawdown_is_measured_from_the_highest_equity_so_far() -> None:
    mark = raised(None, equity=100.0, ts=NOW)
    mark = raised(mark, equity=120.0, ts=NOW + MINUTE)
    mark = raised(mark, equity=120.0, ts=NOW + 2 * MINUTE)

    assert mark == HighWaterMark(120.0, NOW + MINUTE)
    assert drawdown(mark, equity=90.0) == 0.25
    assert drawdown(mark, equity=130.0) == 0.0


def test_old_risk_input_holds_and_then_latches() -> None:
    fresh, latch = NOW + MINUTE, NOW + 10 * MINUTE

    assert risk_input(fresh_until=fresh, latches_at=latch, now=fresh) is RiskInput.FRESH
    assert risk_input(fresh_until=fresh, latches_at=latch, now=latch) is RiskInput.STALE
    assert risk_input(fresh_until=fresh, latches_at=latch, now=latch + MINUTE) is RiskInput.LATCHED
    assert risk_input(fresh_until=None, latches_at=latch, now=NOW) is RiskInput.STALE
    assert risk_input(fresh_until=None, latches_at=None, now=NOW) is RiskInput.LATCHED
