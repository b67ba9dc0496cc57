from __future__ import annotations

import pytest

from qmtl_worlds.lifecycle.exposure import Exposures, average, observed, since

A, B = 1, 2


def test_open_gate_permits_the_committed_weight() -> None:
    log = observed(Exposures(), at=0, committed={}, open_now=())
    log = observed(log, at=10, committed={A: 0.3}, open_now={A})

    assert log.present == {A: 0.3}


def test_gate_that_never_opened_permits_nothing() -> None:
    log = observed(Exposures(), at=0, committed={A: 0.3}, open_now={A})
    log = observed(log, at=10, committed={A: 0.3, B: 0.2}, open_now={A})

    assert log.present == {A: 0.3}


def test_gate_that_shuts_keeps_what_was_held_and_raises_nothing() -> None:
    log = observed(Exposures(), at=0, committed={A: 0.3}, open_now={A})
    log = observed(log, at=10, committed={A: 0.5}, open_now=())
    held = log.present
    log = observed(log, at=20, committed={A: 0.1}, open_now=())

    assert held == {A: 0.3}
    assert log.present == {A: 0.1}


def test_whoever_is_in_the_set_at_the_first_look_counts_though_the_gate_is_shut() -> None:
    assert observed(Exposures(), at=0, committed={A: 0.3}, open_now=()).present == {A: 0.3}


def test_who_left_the_set_is_permitted_nothing() -> None:
    log = observed(Exposures(), at=0, committed={A: 0.3}, open_now={A})

    assert observed(log, at=10, committed={}, open_now={A}).present == {}


def test_looking_again_at_the_same_adds_nothing() -> None:
    log = observed(Exposures(), at=0, committed={A: 0.3}, open_now={A})

    assert observed(log, at=10, committed={A: 0.3}, open_now={A}) is log


def test_average_counts_each_weight_for_as_long_as_it_held() -> None:
    log = Exposures(((0.0, {A: 0.4}), (25.0, {A: 0.4, B: 0.2}), (75.0, {B: 0.2})))

    weights = average(log, start=0.0, end=100.0)

    assert weights == {A: pytest.approx(0.3), B: pytest.approx(0.15)}


def test_average_counts_nothing_from_before_the_log() -> None:
    assert average(Exposures(((50.0, {A: 0.4}),)), start=0.0, end=100.0) == {A: pytest.approx(0.2)}
    assert average(Exposures(), start=0.0, end=100.0) == {}


def test_what_is_over_is_forgotten_and_changes_no_later_average() -> None:
    log = Exposures(((0.0, {A: 0.4}), (10.0, {A: 0.1}), (20.0, {B: 0.2})))

    shorter = since(log, start=15.0)

    assert shorter.entries == log.entries[1:]
    assert average(shorter, start=15.0, end=30.0) == average(log, start=15.0, end=30.0)
