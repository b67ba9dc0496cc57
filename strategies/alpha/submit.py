"""Submit every alpha of the catalog to a world.

    python -m strategies.alpha.submit --server URL --token-file FILE --world ID --calendar config/calendars/XNYS.csv

Doing it again, or with a later ``--until``, sends only what is new to the server's eyes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from qmtl_worlds.sdk.client import WorldsClient
from strategies.alpha.catalog import build_catalog
from strategies.alpha.options import new_client, new_parser
from strategies.alpha.submission import AlphaSubmission, read_closes
from strategies.data.prices import load_prices

PROGRESS_EVERY: Final = 50
TIMEOUT_SECONDS: Final = 30.0

Say = Callable[[str], object]


def submit_all(client: WorldsClient, world_id: str, submissions: Sequence[AlphaSubmission], *, say: Say) -> int:
    """Bind all ``submissions`` in one call, send the bars of each, and return how many bars there were."""
    client.bind(world_id, [submission.binding for submission in submissions])
    rows = 0
    for done, submission in enumerate(submissions, start=1):
        binding, series = submission.binding, submission.series()
        if len(series):
            client.push_returns(world_id, binding.strategy_id, binding.side, series)
        rows += len(series)
        if done % PROGRESS_EVERY == 0 or done == len(submissions):
            say(f"{done} of {len(submissions)} strategies, {rows:,} bars\n")
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Submit what the command line asks for."""
    parser = new_parser(__doc__)
    parser.add_argument("--calendar", required=True, type=Path, help="table of the sessions' closes")
    options = parser.parse_args(arguments)
    prices, closes = load_prices(), read_closes(options.calendar)
    submissions = [
        AlphaSubmission(alpha, prices[alpha.symbol], closes, after=options.after, until=options.until)
        for alpha in build_catalog(prices)
    ]
    with new_client(options, timeout_seconds=TIMEOUT_SECONDS) as client:
        submit_all(client, options.world, submissions, say=_say)
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
