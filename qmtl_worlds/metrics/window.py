"""One block of instances over one window, with what several metrics share."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.metrics.ordered import ROUNDING, Floats, Scratch, ordered_sum, running_max, running_product
from qmtl_worlds.metrics.panel import ReturnPanel


class Block:
    """The returns of some rows, time-major, from one column on; every window of the run is a tail of it."""

    def __init__(self, panel: ReturnPanel, rows: slice, columns: slice, scratch: Scratch) -> None:
        self._raw = panel.returns[rows, columns]
        self._first = columns.start
        self._scratch = scratch
        count, length = self._raw.shape
        self._series = scratch.array("series", length, count)
        np.copyto(self._series, self._raw.T)
        self._missing: NDArray[np.bool_] | None = None
        if np.isnan(np.add.reduce(self._series, axis=0)).any():
            self._missing = np.isnan(self._series)
            np.copyto(self._series, 0.0, where=self._missing)

    def window(self, start: int) -> Window:
        """Return the part of the block from the panel's column ``start`` on; it ends the window taken before."""
        skip = start - self._first
        missing = None if self._missing is None else self._missing[skip:]
        return Window(self._series[skip:], missing, self._raw[:, skip:], self._scratch)


class Window:
    """B instances over W sessions. Everything is computed when first asked for, and once.

    ``series`` is float64[W, B] with 0 where nothing was observed, ``missing`` tells where (None: nowhere), ``raw`` is
    float64[B, W] with NaN there. Without missing values every step gives the same bits as with a mask that hides none.
    """

    def __init__(self, series: Floats, missing: NDArray[np.bool_] | None, raw: Floats, scratch: Scratch) -> None:
        self.series = series
        self._missing = missing
        self._raw = raw
        self._scratch = scratch

    def mean_of_product(self, left: Floats, right: Floats) -> Floats:
        """Return the mean of left times right, float64[W, B] each and 0 where nothing was observed."""
        return self._sum(np.multiply(left, right, out=self.array("product"))) / self.n_obs

    def array(self, name: str) -> Floats:
        """Return a float64[W, B] to write on; the last one of that name is given up."""
        return self._scratch.array(name, *self.series.shape)

    @cached_property
    def n_obs(self) -> NDArray[np.int64]:
        """Return the number of observations of each instance."""
        length, width = self.series.shape
        hidden = 0 if self._missing is None else np.count_nonzero(self._missing, axis=0)
        return np.full(width, length, dtype=np.int64) - hidden

    @cached_property
    def mean(self) -> Floats:
        """Return the mean return of a session."""
        return self._sum(self.series) / self.n_obs

    @cached_property
    def _offsets(self) -> Floats:
        return self._hide_missing(np.subtract(self.series, self.mean, out=self.array("offsets")))

    @cached_property
    def _squares(self) -> Floats:
        return np.multiply(self._offsets, self._offsets, out=self.array("squares"))

    @cached_property
    def _square_sum(self) -> Floats:
        total = self._sum(self._squares)
        return np.where(total <= ROUNDING * ROUNDING * self.n_obs, 0.0, total)

    @cached_property
    def deviation(self) -> Floats:
        """Return the sample standard deviation (ddof 1); 0 where it is no more than rounding."""
        return np.sqrt(self._square_sum / (self.n_obs - 1))

    @cached_property
    def skew(self) -> Floats:
        """Return the population skewness m3 / m2^1.5."""
        second = self._square_sum / self.n_obs
        return self.mean_of_product(self._squares, self._offsets) / (second * np.sqrt(second))

    @cached_property
    def kurt(self) -> Floats:
        """Return the population kurtosis m4 / m2^2, 3 for a normal."""
        second = self._square_sum / self.n_obs
        return self.mean_of_product(self._squares, self._squares) / (second * second)

    @cached_property
    def wealth(self) -> Floats:
        """Return what 1 has grown to by each session, float64[W, B]; a loss beyond the capital leaves nothing."""
        growth = np.add(self.series, 1.0, out=self.array("wealth"))
        return running_product(np.maximum(growth, 0.0, out=growth))

    @cached_property
    def drawdown(self) -> Floats:
        """Return the fall from the highest wealth so far, the starting 1 included, as a positive fraction."""
        peak = running_max(self.wealth, start=1.0, out=self.array("drawdown"))
        np.divide(self.wealth, peak, out=peak)
        return self._hide_missing(np.subtract(1.0, peak, out=peak))

    @cached_property
    def worst(self) -> Floats:
        """Return the worst twentieth of the observations and one more, ascending, time-major; NaN behind them."""
        length, width = self.series.shape
        depth = min(length, (length - 1) // 20 + 2)
        rows = self._scratch.array("rows", width, length)
        np.copyto(rows, self._raw)
        rows.partition(depth - 1, axis=1)
        return np.sort(rows[:, :depth], axis=1).T

    def _sum(self, values: Floats) -> Floats:
        return ordered_sum(values, self._scratch)

    def _hide_missing(self, values: Floats) -> Floats:
        if self._missing is not None:
            np.copyto(values, 0.0, where=self._missing)
        return values
