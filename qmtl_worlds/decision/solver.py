"""Select by the policy's solver, and certify how good the selection is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Final, Literal

import numpy as np

from qmtl_worlds.contracts.decision_envelope import Certificate
from qmtl_worlds.decision.bounds import Program, program_of, promising, relaxed_bound, total_value
from qmtl_worlds.decision.codes import EMPTY, Floats, Rows
from qmtl_worlds.decision.constraints import Book, Limits
from qmtl_worlds.decision.exact import break_ties, solve
from qmtl_worlds.decision.selection import Selection, select

Solver = Literal["greedy", "exact"]
_SHADOW_ROWS: Final = 100
_SHADOW_NODES: Final = 20
_EXACT_ROWS: Final = 2_000
_EXACT_NODES: Final = 500


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Candidates in ``order``, worth ``value`` each (over all instances), beside ``fixed`` members."""

    order: Rows
    value: Floats
    book: Book
    limits: Limits
    solver: Solver
    fixed: Rows = field(default_factory=EMPTY.copy)


def solve_selection(problem: Problem) -> tuple[Selection, Certificate]:
    """Select, and say how far the selection can be from the best one.

    ``greedy`` takes candidates in order; its upper bound comes from an exact solution where few candidates could
    improve on it, else from the counts alone. ``exact`` returns the best set, equal values going to the better ranks.
    Its limits are counted in nodes, so that replay gives the same answer; when they are hit, the best set found and its
    bound are returned.
    """
    started = perf_counter()
    greedy = select(problem.order, problem.fixed, problem.book, problem.limits)
    program = program_of(problem.order, problem.fixed, problem.book, problem.limits, problem.value)
    value, bound = total_value(problem.value[greedy.admitted]), relaxed_bound(program)
    if problem.solver == "exact":
        selection, bound = _exact(problem, program, greedy, bound)
    else:
        selection, bound = greedy, _shadow(program, greedy, value=value, bound=bound)
    return selection, _certify(problem, selection, bound, started)


def select_beside(problem: Problem) -> Selection:
    """Select without a certificate, which the greedy solver then need not pay for."""
    if problem.solver == "greedy":
        return select(problem.order, problem.fixed, problem.book, problem.limits)
    return solve_selection(problem)[0]


def _certify(problem: Problem, selection: Selection, bound: float, started: float) -> Certificate:
    value = total_value(problem.value[selection.admitted])
    closed = bound - value <= _slack(value)
    bound = value if closed else bound
    return {
        "solver": problem.solver,
        "status": "optimal" if closed else "feasible",
        "value": value,
        "upper_bound": bound,
        "gap_pct": 100.0 * (bound - value) / bound if bound > 0 else 0.0,
        "ms": 1e3 * (perf_counter() - started),
    }


def _shadow(program: Program, greedy: Selection, *, value: float, bound: float) -> float:
    """Return a bound on all selections: exact where that is cheap, else the one of the counts."""
    if bound - value <= _slack(value):
        return bound
    places = promising(program, beat=value)
    if not 0 < len(places) <= _SHADOW_ROWS:
        return bound
    reduced = _part(program, places)
    solution = solve(reduced, nodes=_SHADOW_NODES, start=_start(reduced, greedy))
    return bound if solution is None else min(bound, max(value, solution.bound))


def _exact(problem: Problem, program: Program, greedy: Selection, bound: float) -> tuple[Selection, float]:
    value = total_value(problem.value[greedy.admitted])
    places = promising(program, beat=value)
    if not len(places):
        return greedy, bound
    whole = len(places) <= _EXACT_ROWS
    reduced = _part(program, places[:_EXACT_ROWS])
    solution = solve(reduced, nodes=_EXACT_NODES, start=_start(reduced, greedy))
    if solution is None:
        return greedy, bound
    if solution.proved:
        solution = break_ties(reduced, solution, nodes=_EXACT_NODES)
    allowed = np.zeros(len(problem.book.side), dtype=bool)
    allowed[reduced.rows[solution.chosen]] = True
    best = select(problem.order, problem.fixed, problem.book, problem.limits, allowed=allowed)
    if total_value(problem.value[best.admitted]) < value - _slack(value):
        best = greedy
    return best, min(bound, max(value, solution.bound)) if whole else bound


def _start(program: Program, greedy: Selection) -> Rows:
    return np.flatnonzero(np.isin(program.rows, greedy.admitted))


def _part(program: Program, places: Rows) -> Program:
    return replace(program, rows=program.rows[places], value=program.value[places])


def _slack(value: float) -> float:
    return 1e-9 * max(1.0, abs(value))
