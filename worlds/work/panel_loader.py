"""From stored bytes to the matrix of bars that an evaluation reads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.metrics.bars import BarBlock, compound_bars
from qmtl_worlds.metrics.panel import ReturnPanel
from strategies.selectors import StoredSeries
from worlds.work.bar_digests import BarDigests
from worlds.work.bar_grid import BarGrid, grid_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
NO_BAR: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class LoadedBars:
    """The bars of N instances; ``reference`` names what was read, for ever.

    The matrices of ``bars`` are N x B views of the grid's memory. ``first_close`` and ``last_close`` are the first and
    the last bar of each instance in epoch seconds, ``NO_BAR`` where it has none.
    """

    instances: Integers
    grid: BarGrid
    first_close: Integers
    last_close: Integers
    reference: dict[str, object]

    @property
    def bars(self) -> BarBlock:
        """Return the bars, an instance a row."""
        grid = self.grid
        return BarBlock(
            ts=grid.ts,
            returns=grid.returns.T,
            leverage=_transposed(grid.leverage),
            turnover=_transposed(grid.turnover),
            trades=_transposed(grid.trades),
        )

    def digest(self, *, verifies: bool) -> str:
        """Return ``sha256:`` and the digest of instances, times and values: equal content, equal digest.

        With ``verifies`` it comes from the values; without, from the digests that blocks kept where they did, in a
        tenth of the time: values that were altered in storage then make no difference.
        """
        digests, grid = BarDigests(self.instances), self.grid
        kept = grid.kept_digests if not verifies and grid.kept_digests else [b""] * len(grid.ts)
        hasher = hashlib.sha256(self.instances.astype("<i8").tobytes())
        hasher.update(grid.ts.astype("<i8").tobytes())
        for number, known in enumerate(kept):
            hasher.update(known or digests.digest(*digests.pack(grid.row(number))))
        return f"sha256:{hasher.hexdigest()}"


def load_bars(stored: StoredSeries, instances: Sequence[int]) -> LoadedBars:
    """Unpack the bars of ``instances`` (ids, each once, in the order of the rows wanted).

    The times are those at which any of them has a bar. Where and in what order the bars were stored does not show: the
    same content gives the same bytes.
    """
    ids = np.array(instances, dtype=np.int64)
    grid = grid_of(stored, ids)
    return LoadedBars(
        instances=ids,
        grid=grid,
        first_close=_first_close(grid.ts, grid.returns),
        last_close=_first_close(grid.ts[::-1], grid.returns[::-1]),
        reference=stored.reference,
    )


def panel_of(loaded: LoadedBars, *, closes: Integers, after: int) -> ReturnPanel:
    """Turn bars into the sessions that end at ``closes``, as ``metrics.bars.compound_bars`` does.

    Bars that close with their session, such as daily ones, are taken as they are: compounding one bar is that bar.
    """
    bars = loaded.bars
    if not np.isin(bars.ts, closes).all():
        return compound_bars(bars, closes=closes, after=after)
    last_trade = None if bars.trades is None else _first_close(bars.ts[::-1], _traded(bars.trades).T[::-1])
    return ReturnPanel(
        closes=closes,
        returns=_spread(bars.returns, bars.ts, closes),
        leverage=None if bars.leverage is None else _spread(bars.leverage, bars.ts, closes),
        turnover=None if bars.turnover is None else _spread(bars.turnover, bars.ts, closes),
        trades=None if bars.trades is None else _spread(bars.trades, bars.ts, closes),
        data_end=_or_nan(loaded.last_close),
        last_trade=None if last_trade is None else _or_nan(last_trade),
    )


def _spread(values: Floats, ts: Integers, closes: Integers) -> Floats:
    """Return the columns of ``values`` (at ``ts``) at ``closes``, NaN between."""
    if np.array_equal(ts, closes):
        return values
    wide = np.full((len(closes), len(values)), np.nan)
    wide[np.searchsorted(closes, ts)] = values.T
    return wide.T


def _traded(trades: Floats) -> Floats:
    return np.where(trades > 0, trades, np.nan)


def _or_nan(times: Integers) -> Floats:
    return np.where(times == NO_BAR, np.nan, times)


def _transposed(matrix: Floats | None) -> Floats | None:
    return None if matrix is None else matrix.T


def _first_close(ts: Integers, returns: Floats) -> Integers:
    """Return the first time at which each column has a bar; a few rows tell it for most."""
    found = np.full(returns.shape[1], NO_BAR, dtype=np.int64)
    for close, row in zip(ts, returns, strict=True):
        missing = found == NO_BAR
        if not missing.any():
            break
        found[missing & ~np.isnan(row)] = close
    return found
