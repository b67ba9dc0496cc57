"""Make returns.csv.gz beside this file: some of the demo's rule strategies, over the last sessions of the prices.

    .venv/bin/python -m docs.examples.make_returns

The same rows come out on every machine.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from strategies.alpha.catalog import build_series
from strategies.data.prices import load_prices

SESSIONS: Final = 300
RULES: Final = ("sma-5-20", "sma-20-50", "momentum-60", "reversal-2", "donchian-20-10")
SYMBOLS: Final = ("AAPL", "GOOG", "IBM", "MSFT")
PATH: Final = Path(__file__).with_name("returns.csv.gz")
HEADER: Final = "ts,strategy_id,side,ret,leverage,turnover,trades,sector"


def lines() -> Iterator[str]:
    """Yield the file's lines: one strategy after the other, oldest session first; ``ts`` is the session's date."""
    yield HEADER
    for alpha, series in build_series(load_prices()):
        if alpha.rule.name in RULES and alpha.symbol in SYMBOLS:
            columns = (series.dates, series.returns, series.leverage, series.turnover, series.trades)
            for day, ret, leverage, turnover, trades in zip(*(column[-SESSIONS:] for column in columns), strict=True):
                amounts = f"{leverage:g},{turnover:g},{trades}"
                yield f"{day},{alpha.strategy_id},{alpha.side},{ret!r},{amounts},{alpha.sector}"


def packed() -> bytes:
    """Return the file, gzipped without the time of day."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
        file.write("".join(f"{line}\n" for line in lines()).encode())
    return buffer.getvalue()


if __name__ == "__main__":
    PATH.write_bytes(packed())
