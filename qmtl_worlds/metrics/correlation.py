"""Which instances move together: only for the pairs that selection asks about, never N x N.

BLAS gives other last bits on other processors, so matrix products only screen: a pair within 1e-9 of the cap is settled
by ``rho``, a sum in fixed order. The verdicts are therefore the same on every machine and for every split into blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.metrics.panel import ReturnPanel

CorrelationMode = Literal["signed", "abs"]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class PairVerdicts:
    """For A rows against B rows: ``exceeds`` the cap, or ``unknown``; bool[A, B], never both true."""

    exceeds: NDArray[np.bool_]
    unknown: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class ConflictPairs:
    """Pairs by their positions in the list asked about, ``first < second``, ordered by both."""

    first: Rows
    second: Rows
    unknown: NDArray[np.bool_]


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
        window: int = 120,
        min_overlap: int | None = None,
        mode: CorrelationMode = "signed",
    ) -> None:
        raise NotImplementedError

    def against(self, rows: Rows, chosen: Rows) -> PairVerdicts:
        """Judge each of ``rows`` against each of ``chosen`` by one matrix product; a row against itself is 1.

        Greedy selection asks for a block of candidates against what it has, and then, for each new choice, for the
        rest of the block against that one row.
        """
        raise NotImplementedError

    def conflicts(self, rows: Rows) -> ConflictPairs:
        """Return all pairs among ``rows`` that exceed the cap or are unknown, worked off block by block."""
        raise NotImplementedError

    def rho(self, first: Rows, second: Rows) -> NDArray[np.float64]:
        """Return the coefficient of each pair (first[i], second[i]) in [-1, 1], NaN unknown; same bits everywhere.

        This is the figure to record and to show; symmetric to the bit.
        """
        raise NotImplementedError
