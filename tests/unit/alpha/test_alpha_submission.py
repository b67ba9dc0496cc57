"""Alphas on their way to a world, and at the gate."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from qmtl_worlds.sdk.verdict import Verdict
from strategies.alpha.catalog import Alpha, find_alpha
from strategies.alpha.run import between, paced
from strategies.alpha.submission import AlphaSubmission, Closes, read_closes
from strategies.alpha.trading import trade
from strategies.data.prices import PriceSeries, load_prices

CALENDAR = Path(__file__).resolve().parents[3] / "config" / "calendars" / "XNYS.csv"


@pytest.fixture(scope="module")
def prices() -> dict[str, PriceSeries]:
    return load_prices()


@pytest.fixture(scope="module")
def closes() -> Closes:
    return read_closes(CALENDAR)


@pytest.fixture
def alpha(prices: dict[str, PriceSeries]) -> Alpha:
    alpha = find_alpha(prices, "sma-5-20.AAPL", "long")
    assert alpha is not None
    return alpha


class PlayedGate:
    """Gives its verdicts in turn."""

    def __init__(self, verdicts: Sequence[Verdict]) -> None:
        self._verdicts = iter(verdicts)
        self.asked: list[tuple[str, bool | None]] = []

    def check(self, side: str, *, reduces: bool | None = None) -> Verdict:
        self.asked.append((side, reduces))
        return next(self._verdicts)


def test_closes_of_the_exchange_know_summer_time_and_early_closes(closes: Closes) -> None:
    def close(day: date) -> datetime:
        return datetime.fromtimestamp(closes[day], UTC)

    assert close(date(2012, 1, 3)) == datetime(2012, 1, 3, 21, tzinfo=UTC)
    assert close(date(2012, 7, 2)) == datetime(2012, 7, 2, 20, tzinfo=UTC)
    assert close(date(2012, 7, 3)) == datetime(2012, 7, 3, 17, tzinfo=UTC)


def test_every_session_of_the_prices_is_one_of_the_exchange(prices: dict[str, PriceSeries], closes: Closes) -> None:
    assert {day for series in prices.values() for day in series.dates} <= set(closes)


def test_submission_carries_the_full_history_at_session_closes(
    alpha: Alpha, prices: dict[str, PriceSeries], closes: Closes
) -> None:
    submission = AlphaSubmission(alpha, prices["AAPL"], closes)

    series = submission.series()

    assert len(series) == 3270 - 20
    assert datetime.fromtimestamp(series.ts[-1], UTC) == datetime(2013, 3, 1, 21, tzinfo=UTC)
    assert submission.binding.to_json() == {
        "strategy_id": "sma-5-20.AAPL",
        "side": "long",
        "params": {"rule": "sma", "symbol": "AAPL", "fast": 5, "slow": 20},
        "sector": "Technology hardware",
    }


def test_submissions_of_two_spans_make_up_the_whole(
    alpha: Alpha, prices: dict[str, PriceSeries], closes: Closes
) -> None:
    cut = date(2012, 7, 4)

    early = AlphaSubmission(alpha, prices["AAPL"], closes, until=cut).series()
    late = AlphaSubmission(alpha, prices["AAPL"], closes, after=cut).series()

    whole = AlphaSubmission(alpha, prices["AAPL"], closes).series()
    assert [*early.ts, *late.ts] == list(whole.ts)
    assert [*early.ret, *late.ret] == list(whole.ret)


def test_trader_asks_before_each_order_and_repeats_a_refused_entry(alpha: Alpha) -> None:
    refused = Verdict(allowed=False, weight=0.0, reason="applying", retry_after_ms=1000)
    gate = PlayedGate(
        [
            refused,
            Verdict(allowed=True, weight=0.12, reason="active"),
            Verdict(allowed=True, weight=1.0, reason="freeze"),
        ]
    )
    wishes = [(date(2012, 1, day), wish) for day, wish in enumerate([0, 1, 1, 1, 0, 0], start=3)]

    lines = [str(asked) for asked in trade(alpha, wishes, gate)]

    assert gate.asked == [("long", False), ("long", False), ("long", True)]
    assert lines == [
        "2012-01-04 entry long AAPL: refused (applying), ask again in 1000 ms",
        "2012-01-05 entry long AAPL: allowed, weight 0.1200 (active)",
        "2012-01-07 exit long AAPL: allowed, weight 1.0000 (freeze)",
    ]


def test_trader_that_was_never_let_in_has_nothing_to_exit(alpha: Alpha) -> None:
    gate = PlayedGate([Verdict(allowed=False, weight=0.0, reason="not_selected")])

    asked = list(trade(alpha, [(date(2012, 1, 3), 1), (date(2012, 1, 4), 0)], gate))

    assert [order.verdict.allowed for order in asked] == [False]


def test_sessions_are_cut_and_paced() -> None:
    days = [date(2012, 1, day) for day in range(3, 8)]
    pauses: list[float] = []

    chosen = between(days, after=date(2012, 1, 3), until=date(2012, 1, 5))

    assert list(paced(chosen, every=0.5, pause=pauses.append)) == [date(2012, 1, 4), date(2012, 1, 5)]
    assert pauses == [0.5, 0.5]
