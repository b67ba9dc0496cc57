"""The best set by integer programming (HiGHS), the same on every run.

One thread, a fixed seed, and limits counted in nodes instead of seconds: work is what replay can repeat, time is not
(docs/decisions/0021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import highspy
import numpy as np

from qmtl_worlds.decision.bounds import Program, total_value
from qmtl_worlds.decision.codes import TOLERANCE, Flags, Floats, Rows
from qmtl_worlds.decision.constraints import EXEMPT

_new_solver: Final[Callable[[], highspy.Highs]] = highspy.Highs
_VALVE_SECONDS: Final = 30.0
"""Only a machine many times too slow gets here."""
_OPTIONS: Final[tuple[tuple[str, bool | int | float], ...]] = (
    ("output_flag", False),
    ("threads", 1),
    ("random_seed", 0),
    ("mip_rel_gap", 0.0),
    ("mip_abs_gap", 1e-9),
    ("time_limit", _VALVE_SECONDS),
)


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """``chosen`` places of the program, ascending; no set is worth more than ``bound``; ``proved`` where they meet."""

    chosen: Rows
    value: float
    bound: float
    proved: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """One constraint: sum of ``factors`` over ``places`` within bounds."""

    places: Rows
    factors: Floats
    upper: float = math.inf
    lower: float = -math.inf


def solve(program: Program, *, nodes: int, start: Rows | None = None) -> Solution | None:
    """Maximize the value of the program, from a ``start`` (places) if there is one; None where HiGHS has no answer."""
    return _run(program.value, _constraints(program), nodes=nodes, start=start)


def break_ties(program: Program, best: Solution, *, nodes: int) -> Solution:
    """Among sets of the same value return the one with the best ranks: equal scores go to the first in order."""
    count = len(program.rows)
    floor = _Row(np.arange(count), program.value, lower=best.value - 1e-9)
    ranks = np.arange(count, 0, -1, dtype=np.float64)
    other = _run(ranks, [*_constraints(program), floor], nodes=nodes, start=best.chosen)
    if other is None or total_value(program.value[other.chosen]) < best.value - TOLERANCE:
        return best
    return replace(best, chosen=other.chosen, value=total_value(program.value[other.chosen]))


def _run(objective: Floats, rows: Sequence[_Row], *, nodes: int, start: Rows | None) -> Solution | None:
    solver = _new_solver()
    for name, value in _OPTIONS:
        solver.setOptionValue(name, value)
    solver.setOptionValue("mip_max_nodes", nodes)
    solver.passModel(_model(objective, rows))
    if start is not None:
        guess = highspy.HighsSolution()
        guess.col_value = np.isin(np.arange(len(objective)), start).astype(np.float64).tolist()
        solver.setSolution(guess)
    solver.run()
    info = solver.getInfo()
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return None
    chosen = np.flatnonzero(np.rint(solver.getSolution().col_value) == 1).astype(np.int64)
    value = total_value(objective[chosen])
    proved = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return Solution(chosen, value, value if proved else _outward(-info.mip_dual_bound), proved)


def _outward(bound: float) -> float:
    """Round a solver's bound up to six digits, past its last bits."""
    return math.ceil(bound * 1e6) / 1e6 if math.isfinite(bound) else math.inf


def _model(objective: Floats, rows: Sequence[_Row]) -> highspy.HighsLp:
    count, model = len(objective), highspy.HighsLp()
    model.num_col_, model.num_row_ = count, len(rows)
    model.col_cost_ = -objective
    model.col_lower_, model.col_upper_ = np.zeros(count), np.ones(count)
    model.row_lower_ = np.array([row.lower for row in rows])
    model.row_upper_ = np.array([row.upper for row in rows])
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.cumsum([0] + [len(row.places) for row in rows]).astype(np.int32)
    model.a_matrix_.index_ = np.concatenate([row.places for row in rows]).astype(np.int32)
    model.a_matrix_.value_ = np.concatenate([row.factors for row in rows])
    model.integrality_ = [highspy.HighsVarType.kInteger] * count
    return model


def _constraints(program: Program) -> list[_Row]:
    """Return total, sides, sectors, leverage and cliques; gross follows from the sides."""
    book, rows, usage, limits = program.book, program.rows, program.usage, program.limits
    places = np.arange(len(rows))
    side, bucket, slot = book.side[rows], book.bucket[rows], book.slot[rows]
    found = [_Row(places, np.ones(len(rows)), program.slots)]
    for number, count in enumerate(program.by_side):
        mine = places[side == number]
        found.append(_Row(mine, np.ones(len(mine)), count))
    for number in sorted(set(bucket.tolist()) - {EXEMPT}):
        mine = places[bucket == number]
        found.append(_Row(mine, slot[mine], limits.per_sector - float(usage.by_bucket[number]) + TOLERANCE))
    found.append(_Row(places, slot * book.leverage[rows], limits.leverage - usage.leverage + TOLERANCE))
    cliques = _cliques(_conflict_matrix(program))
    return [*found, *(_Row(clique, np.ones(len(clique)), 1.0) for clique in cliques)]


def _conflict_matrix(program: Program) -> Flags:
    pairs, count = program.limits.pairs, len(program.rows)
    if pairs is None:
        return np.zeros((count, count), dtype=bool)
    known, unknown = pairs.conflicts(program.rows, program.rows)
    matrix = known | unknown
    np.fill_diagonal(matrix, val=False)
    return matrix | matrix.T


def _cliques(conflict: Flags) -> list[Rows]:
    """Cover the conflicts with cliques, each grown from its first pair by the best-ranked common neighbors.

    One row a clique instead of one a pair: fewer rows, and a tighter relaxation.
    """
    open_pairs, cliques = np.triu(conflict), []
    for first in range(len(conflict)):
        while open_pairs[first].any():
            clique = [first, int(open_pairs[first].argmax())]
            common = conflict[clique[0]] & conflict[clique[1]]
            while common.any():
                clique.append(int(common.argmax()))
                common = common & conflict[clique[-1]]
            members = np.array(sorted(clique), dtype=np.int64)
            open_pairs[np.ix_(members, members)] = False
            cliques.append(members)
    return cliques
