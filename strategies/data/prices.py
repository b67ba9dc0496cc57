"""The vendored daily prices, verified before they are used."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

PRICES_PATH = Path(__file__).with_name("stocks.csv.gz")
"""The vendored file; ``SHA256`` beside it holds its digest, ``PROVENANCE.md`` its origin."""


@dataclass(frozen=True, slots=True)
class PriceSeries:
    """Daily prices of one symbol, oldest first; ``adjusted`` is the close adjusted for splits and dividends."""

    symbol: str
    dates: tuple[date, ...]
    adjusted: tuple[float, ...]


def load_prices(path: Path = PRICES_PATH) -> dict[str, PriceSeries]:
    """Read the price file at ``path``, by symbol in the order of the file.

    Raises:
        ValueError: the bytes are not those that the ``SHA256`` file beside ``path`` promises.
    """
    data = path.read_bytes()
    _check_digest(path, data)
    with gzip.open(io.BytesIO(data), "rt", encoding="ascii", newline="") as text:
        return _group(csv.DictReader(text))


def _check_digest(path: Path, data: bytes) -> None:
    promised = path.with_name("SHA256").read_text(encoding="ascii").split()[0]
    found = hashlib.sha256(data).hexdigest()
    if found != promised:
        raise ValueError(f"{path.name} has digest {found}, not {promised}; restore the vendored file")


def _group(rows: Iterable[dict[str, str]]) -> dict[str, PriceSeries]:
    columns: dict[str, tuple[list[date], list[float]]] = {}
    for row in rows:
        dates, adjusted = columns.setdefault(row["Ticker"], ([], []))
        dates.append(date.fromisoformat(row["Date"]))
        adjusted.append(float(row["Adj Close"]))
    return {symbol: PriceSeries(symbol, tuple(dates), tuple(adjusted)) for symbol, (dates, adjusted) in columns.items()}
