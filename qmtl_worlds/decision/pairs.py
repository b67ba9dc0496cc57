"""Which pairs of instances may not be selected together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from qmtl_worlds.decision.codes import TOLERANCE, Flags, Floats, Rows
from qmtl_worlds.decision.columns import Frame
from qmtl_worlds.decision.inputs import EvaluationInput
from qmtl_worlds.metrics.correlation import CorrelationScreen
from qmtl_worlds.policy.document import Correlation


class Screen(Protocol):
    """Where coefficients come from; rows are those of the frame."""

    def verdicts(self, rows: Rows, chosen: Rows) -> tuple[Flags, Flags]:
        """Return for A rows against B rows what exceeds the cap, and what is unknown: bool[A, B] each."""

    def rho(self, first: Rows, second: Rows) -> Floats:
        """Return the coefficient of each pair, NaN unknown."""


@dataclass(frozen=True, slots=True, eq=False)
class PairRule:
    """The correlation cap; ``unknown_conflicts`` says whether a pair that cannot be judged counts as one above it."""

    cap: float
    absolute: bool
    unknown_conflicts: bool
    screen: Screen

    def conflicts(self, rows: Rows, chosen: Rows) -> tuple[Flags, Flags]:
        """Return what conflicts by a known and by an unknown coefficient: bool[A, B] each."""
        exceeds, unknown = self.screen.verdicts(rows, chosen)
        return exceeds, unknown & self.unknown_conflicts

    def figures(self, first: Rows, second: Rows) -> Floats:
        """Return what is compared with the cap for each pair, NaN unknown."""
        rho = self.screen.rho(first, second)
        return np.abs(rho) if self.absolute else rho


def pair_rule(limit: Correlation | None, inputs: EvaluationInput, frame: Frame, *, as_of: int) -> PairRule | None:
    """Return the rule that the policy sets, or None where it sets none."""
    if limit is None:
        return None
    screen: Screen = PanelScreen(
        CorrelationScreen(
            inputs.panel,
            as_of=as_of,
            cap=limit.max_pairwise,
            window=limit.window_days,
            min_overlap=limit.required_overlap,
            mode=limit.mode,
        ),
        frame.row,
    )
    if inputs.correlations:
        screen = given_screen(inputs.correlations, frame, screen, cap=limit.max_pairwise, absolute=limit.mode == "abs")
    return PairRule(limit.max_pairwise, limit.mode == "abs", limit.on_unknown == "conflict", screen)


@dataclass(frozen=True, slots=True, eq=False)
class PanelScreen:
    """Coefficients of the panel's returns; ``row`` leads from the frame to the panel."""

    screen: CorrelationScreen
    row: Rows

    def verdicts(self, rows: Rows, chosen: Rows) -> tuple[Flags, Flags]:
        """Return what the panel says."""
        verdicts = self.screen.against(self.row[rows], self.row[chosen])
        return verdicts.exceeds, verdicts.unknown

    def rho(self, first: Rows, second: Rows) -> Floats:
        """Return the panel's coefficients."""
        return self.screen.rho(self.row[first], self.row[second])


@dataclass(frozen=True, slots=True, eq=False)
class GivenScreen:
    """Coefficients from a request's body over those of another screen; ``codes`` ascend, one for each given pair."""

    codes: Rows
    values: Floats
    count: int
    cap: float
    absolute: bool
    otherwise: Screen

    def verdicts(self, rows: Rows, chosen: Rows) -> tuple[Flags, Flags]:
        """Return what the body says, and what the other screen says of pairs that it leaves out."""
        given, known = self._find(rows[:, None], chosen[None, :])
        exceeds, unknown = self.otherwise.verdicts(rows, chosen)
        size = np.abs(given) if self.absolute else given
        return np.where(known, size > self.cap + TOLERANCE, exceeds), unknown & ~known

    def rho(self, first: Rows, second: Rows) -> Floats:
        """Return the body's coefficient, or that of the other screen."""
        given, known = self._find(first, second)
        return np.where(known, given, self.otherwise.rho(first, second))

    def _find(self, first: Rows, second: Rows) -> tuple[Floats, Flags]:
        wanted = np.minimum(first, second) * self.count + np.maximum(first, second)
        places = np.minimum(np.searchsorted(self.codes, wanted), len(self.codes) - 1)
        known = self.codes[places] == wanted
        return np.where(known, self.values[places], np.nan), known


def given_screen(
    correlations: Mapping[tuple[str, str], float], frame: Frame, otherwise: Screen, *, cap: float, absolute: bool
) -> Screen:
    """Put the pairs of a request's body over ``otherwise``; pairs of unknown keys and NaN coefficients are left out."""
    places = {key: position for position, key in enumerate(frame.keys)}
    found = {
        min(places[a], places[b]) * frame.count + max(places[a], places[b]): rho
        for (a, b), rho in sorted(correlations.items())
        if a in places and b in places and a != b and rho == rho  # noqa: PLR0124 - NaN is no coefficient
    }
    if not found:
        return otherwise
    codes = sorted(found)
    values = np.array([found[pair] for pair in codes], dtype=np.float64)
    return GivenScreen(np.array(codes, dtype=np.int64), values, frame.count, cap, absolute, otherwise)
