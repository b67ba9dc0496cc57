"""Run one alpha as a process that asks the order gate before each order and prints what it was told.

    python -m strategies.alpha.run --server URL --token-file FILE --world ID --strategy-id sma-5-20.AAPL --side long

It replays the alpha's sessions, one every ``--every`` seconds. With ``--stdin`` it trades the sessions that it is told
of instead, one date a line, so that another program sets the pace.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from typing import Final

from qmtl_worlds.sdk.gate import OrderGate
from qmtl_worlds.sdk.verdict import GateRules
from strategies.alpha.catalog import Alpha, find_alpha
from strategies.alpha.options import new_client, new_parser
from strategies.alpha.trading import trade
from strategies.data.prices import load_prices

READY_TIMEOUT_SECONDS: Final = 10.0
UNKNOWN_ALPHA: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 2 where there is no such alpha."""
    options = _parse(arguments)
    prices = load_prices()
    alpha = find_alpha(prices, options.strategy_id, options.side)
    if alpha is None:
        sys.stderr.write(f"There is no alpha {options.strategy_id} on the {options.side} side.\n")
        return UNKNOWN_ALPHA
    series = prices[alpha.symbol]
    wishes = dict(zip(series.dates, alpha.wanted(series), strict=True))
    gate = OrderGate(
        new_client(options, timeout_seconds=2.0),
        world_id=options.world,
        strategy_id=alpha.strategy_id,
        sides=[alpha.side],
        rules=GateRules(venue_mode=options.venue_mode),
    )
    with gate:
        gate.wait_until_ready(READY_TIMEOUT_SECONDS)
        follow(alpha, ((day, wishes[day]) for day in _sessions(options, wishes) if day in wishes), gate)
    return 0


def follow(alpha: Alpha, wishes: Iterable[tuple[date, int]], gate: OrderGate) -> None:
    """Trade ``wishes`` and print every order with its answer, at once."""
    sys.stdout.write(f"{alpha.strategy_id} {alpha.side}: gate {gate.status.value}\n")
    sys.stdout.flush()
    for asked in trade(alpha, wishes, gate):
        sys.stdout.write(f"{asked}\n")
        sys.stdout.flush()


def between(days: Iterable[date], *, after: date | None, until: date | None) -> list[date]:
    """Return the days after ``after`` and up to ``until`` (included), where they are given."""
    return [day for day in days if (after is None or day > after) and (until is None or day <= until)]


def paced(days: Iterable[date], *, every: float, pause: Callable[[float], None]) -> Iterator[date]:
    """Yield each day and then ``pause`` for ``every`` seconds."""
    for day in days:
        yield day
        pause(every)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument("--strategy-id", required=True)
    parser.add_argument("--side", default="long", choices=["long", "short"])
    parser.add_argument("--venue-mode", default="paper", choices=["paper", "live", "replay"])
    parser.add_argument("--every", type=float, default=1.0, help="seconds from one session to the next")
    parser.add_argument("--stdin", action="store_true", help="read the dates of the sessions instead")
    return parser.parse_args(arguments)


def _sessions(options: argparse.Namespace, days: Iterable[date]) -> Iterator[date]:
    if options.stdin:
        return (date.fromisoformat(line.strip()) for line in sys.stdin)
    return paced(between(days, after=options.after, until=options.until), every=options.every, pause=time.sleep)


if __name__ == "__main__":
    sys.exit(main())
