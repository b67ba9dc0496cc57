from __future__ import annotations

import numpy as np
import pytest

from qmtl_worlds.contracts.metric_names import MetricRef
from qmtl_worlds.metrics.panel import ReturnPanel
from qmtl_worlds.metrics.settings import MetricSettings
from tests.unit.metrics.panels import DAY, days, measure, panel_of, random_panel

CAGR_5 = MetricRef("cagr", 5)


def test_window_is_half_open_at_its_early_end() -> None:
    panel = panel_of([-0.9, 0.0, 0.0, 0.0, 0.0, 0.0])

    column = measure(panel, MetricRef("max_dd", 5), as_of=6 * DAY)["max_dd_5d"]

    assert column.value[0] == 0.0
    assert (column.window_start, column.window_end) == (2 * DAY, 6 * DAY)


def test_session_that_closes_at_as_of_counts_and_a_later_one_does_not() -> None:
    panel = panel_of([0.0, 0.0, -0.5])

    before = measure(panel, MetricRef("max_dd", 5), as_of=3 * DAY - 1)["max_dd_5d"]
    at_close = measure(panel, MetricRef("max_dd", 5), as_of=3 * DAY)["max_dd_5d"]

    assert (before.value[0], before.n_obs[0]) == (0.0, 2)
    assert (at_close.value[0], at_close.n_obs[0]) == (0.5, 3)


def test_window_counts_sessions_and_not_observations() -> None:
    panel = panel_of([-0.5, np.nan, np.nan, 0.0, 0.0, 0.0])

    column = measure(panel, MetricRef("max_dd", 5))["max_dd_5d"]

    assert (column.value[0], column.n_obs[0]) == (0.0, 3)


def test_days_and_words_name_the_same_window() -> None:
    panel = random_panel(4, 120, gaps=0.1)

    columns = measure(panel, MetricRef("sharpe", "mid"), MetricRef("sharpe", 90))

    assert columns["sharpe_mid"].value.tobytes() == columns["sharpe_90d"].value.tobytes()


@pytest.mark.parametrize(("calendar", "long"), [("24/7", 365), ("XNYS", 252)])
def test_default_windows_follow_the_calendar(calendar: str, long: int) -> None:
    settings = MetricSettings.for_calendar(calendar)

    assert dict(settings.windows) == {"short": 30, "mid": 90, "long": long}
    assert settings.periods_per_year == long


def test_windows_of_one_call_do_not_disturb_each_other() -> None:
    panel = random_panel(6, 150, gaps=0.2)
    refs = [MetricRef(base, window) for base in ("sharpe", "ulcer", "cvar_95") for window in (10, 40, 100, 150)]

    together = measure(panel, *refs)

    for ref in refs:
        alone = measure(panel, ref)[ref.name]
        assert together[ref.name].value.tobytes() == alone.value.tobytes()


def test_panel_refuses_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="trades has shape"):
        ReturnPanel(days(3), np.zeros((2, 3)), trades=np.zeros((2, 4)))


def test_panel_refuses_closes_that_do_not_ascend() -> None:
    with pytest.raises(ValueError, match="ascend"):
        ReturnPanel(np.array([2, 1], dtype=np.int64), np.zeros((1, 2)))
