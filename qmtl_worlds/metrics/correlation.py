"""Which instances move together: only for the pairs that selection asks about, never N x N.

BLAS gives other last bits on other processors, so matrix products only screen: a pair within 1e-9 of the cap is settled
by ``rho``, a sum in fixed order. The verdicts are therefore the same on every machine and for every split into blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.metrics.ordered import ROUNDING, Floats, ordered_sum
from qmtl_worlds.metrics.panel import ReturnPanel

CorrelationMode = Literal["signed", "abs"]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

DEFAULT_WINDOW: Final = 120
TOLERANCE: Final = 1e-12
BAND: Final = 1e-9
# Below this share of its own square sum, a variance in a matrix product is too much cancellation to trust.
_LEAST_VARIANCE: Final = 1e-4
_BLOCK_ROWS: Final = 512


@dataclass(frozen=True, slots=True, eq=False)
class PairVerdicts:
    """For A rows against B rows: ``exceeds`` the cap, or ``unknown``; bool[A, B], never both true."""

    exceeds: Mask
    unknown: Mask


@dataclass(frozen=True, slots=True, eq=False)
class ConflictPairs:
    """Pairs by their positions in the list asked about, ``first < second``, ordered by both.

    ``unknown`` tells those without a coefficient from those that exceed the cap.
    """

    first: Rows
    second: Rows
    unknown: Mask


class CorrelationScreen:
    """Pearson correlations of session returns over the last ``window`` sessions with close <= ``as_of``.

    Pairwise-complete: a pair counts the sessions that both have. Fewer than ``min_overlap`` of them (default
    max(30, window // 2)), or no variance on either side, is unknown. A pair exceeds when its coefficient (its size in
    mode ``abs``) is above ``cap`` by more than 1e-12. Rows are prepared when first asked about, and kept.
    """

    def __init__(
        self,
        panel: ReturnPanel,
        *,
        as_of: int,
        cap: float,
        window: int = DEFAULT_WINDOW,
        min_overlap: int | None = None,
        mode: CorrelationMode = "signed",
    ) -> None:
        self._returns = panel.returns[:, panel.window(as_of=as_of, sessions=window)]
        self._cap = cap
        self._mode = mode
        self._min_overlap = max(30, window // 2) if min_overlap is None else min_overlap
        self._units: Floats = np.empty(self._returns.shape)
        self._is_ready = np.zeros(len(self._returns), dtype=np.bool_)
        self._has_gaps = np.zeros(len(self._returns), dtype=np.bool_)
        self._is_flat = np.zeros(len(self._returns), dtype=np.bool_)

    def against(self, rows: Rows, chosen: Rows) -> PairVerdicts:
        """Judge each of ``rows`` against each of ``chosen`` by one matrix product.

        Greedy selection asks for a block of candidates against what it has, and then, for each new choice, for the
        rest of the block against that one row. Rows are positions in the panel.
        """
        self._prepare(rows)
        self._prepare(chosen)
        if self._has_gaps[rows].any() or self._has_gaps[chosen].any():
            size, unknown, doubtful = self._screen_gaps(rows, chosen)
        else:
            size, unknown, doubtful = self._screen_complete(rows, chosen)
        if self._mode == "abs":
            np.abs(size, out=size)
        exceeds = size > self._cap
        doubtful |= np.abs(size - self._cap) <= BAND
        at, to = np.nonzero(doubtful & ~unknown)
        if len(at):
            exact = self.rho(rows[at], chosen[to])
            unknown[at, to] = np.isnan(exact)
            exceeds[at, to] = self._is_above(exact)
        return PairVerdicts(exceeds & ~unknown, unknown)

    def conflicts(self, rows: Rows) -> ConflictPairs:
        """Return all pairs among ``rows`` that exceed the cap or are unknown, worked off block by block."""
        first, second, unknown = [_NO_ROWS], [_NO_ROWS], [np.empty(0, dtype=np.bool_)]
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS]
            verdicts = self.against(block, rows[start:])
            at, to = np.nonzero(np.triu(verdicts.exceeds | verdicts.unknown, 1))
            first.append(at + start)
            second.append(to + start)
            unknown.append(verdicts.unknown[at, to])
        return ConflictPairs(np.concatenate(first), np.concatenate(second), np.concatenate(unknown))

    def rho(self, first: Rows, second: Rows) -> Floats:
        """Return the coefficient of each pair (first[i], second[i]) in [-1, 1], NaN unknown; same bits everywhere.

        This is the figure to record and to show. Swapping the two changes no bit.
        """
        left = np.array(self._returns[first].T, order="C")
        right = np.array(self._returns[second].T, order="C")
        missing = np.isnan(left) | np.isnan(right)
        count = len(missing) - np.count_nonzero(missing, axis=0)
        with np.errstate(all="ignore"):
            left_squares = _center(left, missing, count)
            right_squares = _center(right, missing, count)
            raw = ordered_sum(left * right) / (np.sqrt(left_squares) * np.sqrt(right_squares))
        is_known = (count >= self._min_overlap) & (left_squares > 0.0) & (right_squares > 0.0)
        return np.where(is_known, np.minimum(np.maximum(raw, -1.0), 1.0) + 0.0, np.nan)

    def _is_above(self, rho: Floats) -> Mask:
        return (np.abs(rho) if self._mode == "abs" else rho) > self._cap + TOLERANCE

    def _prepare(self, rows: Rows) -> None:
        """Scale new rows to mean 0 and length 1 over what each of them has."""
        is_ready = self._is_ready[rows]
        if is_ready.all():
            return
        new = np.unique(rows[~is_ready])
        values = self._returns[new]
        missing = np.isnan(values)
        count = values.shape[1] - np.count_nonzero(missing, axis=1)
        has_gaps = count < values.shape[1]
        np.copyto(values, 0.0, where=missing)
        with np.errstate(all="ignore"):
            values -= (values.sum(axis=1) / count)[:, np.newaxis]
            if has_gaps.any():
                np.copyto(values, 0.0, where=missing)
            squares = np.einsum("ij,ij->i", values, values)
            values /= np.sqrt(squares)[:, np.newaxis]
        is_flat = self._find_flat(new, squares, count)
        values[is_flat] = 0.0
        self._units[new] = values
        self._is_flat[new] = is_flat
        self._has_gaps[new] = has_gaps
        self._is_ready[new] = True

    def _find_flat(self, rows: Rows, squares: Floats, count: NDArray[np.int64]) -> Mask:
        """Tell which rows have no variance; where the quick sum comes near that, the fixed-order one decides."""
        is_flat = ~(squares > _NEARLY_FLAT * ROUNDING * ROUNDING * count)
        doubtful = np.flatnonzero(is_flat)
        values = np.array(self._returns[rows[doubtful]].T, order="C")
        with np.errstate(all="ignore"):
            is_flat[doubtful] = _center(values, np.isnan(values), count[doubtful]) == 0.0
        return is_flat

    def _screen_complete(self, rows: Rows, chosen: Rows) -> tuple[Floats, Mask, Mask]:
        size = self._units[rows] @ self._units[chosen].T
        unknown = np.full(size.shape, self._units.shape[1] < self._min_overlap)
        unknown[self._is_flat[rows], :] = True
        unknown[:, self._is_flat[chosen]] = True
        return size, unknown, np.zeros(size.shape, dtype=np.bool_)

    def _screen_gaps(self, rows: Rows, chosen: Rows) -> tuple[Floats, Mask, Mask]:
        """Correlate what each pair has in common; doubtful where little variance is left of a row in it."""
        left, right = self._units[rows], self._units[chosen].T
        has_left = (~np.isnan(self._returns[rows])).astype(np.float64)
        has_right = (~np.isnan(self._returns[chosen])).astype(np.float64).T
        count = has_left @ has_right
        with np.errstate(all="ignore"):
            left_sum, right_sum = left @ has_right, has_left @ right
            left_squares, right_squares = (left * left) @ has_right, has_left @ (right * right)
            left_spread = left_squares - left_sum * left_sum / count
            right_spread = right_squares - right_sum * right_sum / count
            size = (left @ right - left_sum * right_sum / count) / np.sqrt(left_spread * right_spread)
        is_clear = (left_spread > _LEAST_VARIANCE * left_squares) & (right_spread > _LEAST_VARIANCE * right_squares)
        return size, count < self._min_overlap, ~(is_clear & np.isfinite(size))


_NEARLY_FLAT: Final = 4.0
"""How near to rounding a sum of squares must come before it is summed again in fixed order."""
_NO_ROWS: Final[Rows] = np.empty(0, dtype=np.int64)


def _center(values: Floats, missing: Mask, count: NDArray[np.int64]) -> Floats:
    """Take the mean off in place, 0 where missing; return the sum of squares, 0 where it is no more than rounding."""
    np.copyto(values, 0.0, where=missing)
    values -= ordered_sum(values) / count
    np.copyto(values, 0.0, where=missing)
    squares = ordered_sum(values * values)
    return np.where(squares > ROUNDING * ROUNDING * count, squares, 0.0)
