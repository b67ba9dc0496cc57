from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from qmtl_worlds.contracts.reasons import Reason
from qmtl_worlds.decision.codes import EMPTY, Flags, Floats, Rows
from qmtl_worlds.decision.constraints import Book, Limits
from qmtl_worlds.decision.pairs import PairRule
from qmtl_worlds.decision.solver import Problem, Solver, solve_selection
from tests.unit.decision.worlds import Instance, evaluate, exposure, names, policy, recorded

TRAP = [Instance("a", score=10.0), Instance("b", score=9.0), Instance("c", score=9.0)]
TRAP_CORRELATIONS = {("a|long", "b|long"): 0.95, ("a|long", "c|long"): 0.95, ("b|long", "c|long"): 0.1}
CAP = {"correlation": {"max_pairwise": 0.8, "window": "40d", "min_overlap": 30}}


def test_greedy_certifies_how_far_it_is_from_the_best_set() -> None:
    decision = evaluate(TRAP, policy(constraints=exposure() | CAP), correlations=TRAP_CORRELATIONS)

    certificate = decision.certificate
    assert names(decision.topk) == ["a"]
    assert (certificate["solver"], certificate["status"]) == ("greedy", "feasible")
    assert (certificate["value"], certificate["upper_bound"]) == (10.0, 18.0)
    assert certificate["gap_pct"] == pytest.approx(44.44, abs=0.005)


def test_exact_finds_the_best_set_and_proves_it() -> None:
    decision = evaluate(TRAP, policy(solver="exact", constraints=exposure() | CAP), correlations=TRAP_CORRELATIONS)

    certificate = decision.certificate
    assert names(decision.topk) == ["b", "c"]
    assert (certificate["solver"], certificate["status"]) == ("exact", "optimal")
    assert (certificate["value"], certificate["upper_bound"], certificate["gap_pct"]) == (18.0, 18.0, 0.0)
    assert recorded(decision, "a").reason is Reason.NOT_OPTIMAL


def test_greedy_that_meets_the_bound_of_the_counts_is_optimal() -> None:
    decision = evaluate([Instance("a", score=2.0), Instance("b"), Instance("c", score=0.5)])

    assert decision.certificate["status"] == "optimal"
    assert decision.certificate["value"] == 3.0


def test_the_time_of_the_solver_is_no_part_of_the_decision() -> None:
    decision = evaluate(TRAP)

    assert "ms" in decision.envelope()["certificate"]
    assert b'"ms"' not in decision.canonical()


def test_exact_gives_equal_scores_to_the_first_in_order() -> None:
    instances = [Instance(name) for name in "edcba"]

    decision = evaluate(instances, policy(solver="exact"))

    assert names(decision.topk) == ["a", "b"]


def test_exact_settles_ties_by_the_sum_of_ranks() -> None:
    allowed = {("a", "e"), ("b", "c")}
    cut = {(f"{a}|long", f"{b}|long"): 0.9 for a, b in itertools.combinations("abcde", 2) if (a, b) not in allowed}

    decision = evaluate(
        [Instance(name) for name in "abcde"], policy(solver="exact", constraints=exposure() | CAP), correlations=cut
    )

    assert decision.certificate["value"] == 2.0
    assert names(decision.topk) == ["b", "c"]


class Table:
    """Coefficients from a matrix."""

    def __init__(self, matrix: Floats) -> None:
        self.matrix = matrix

    def verdicts(self, rows: Rows, chosen: Rows) -> tuple[Flags, Flags]:
        block = self.matrix[np.ix_(rows, chosen)]
        return block > 0.8, np.zeros(block.shape, dtype=bool)

    def rho(self, first: Rows, second: Rows) -> Floats:
        return self.matrix[first, second]


def random_problem(seed: int, solver: Solver) -> Problem:
    rng, count = np.random.default_rng(seed), 11
    upper = np.triu(rng.uniform(-0.5, 1.0, (count, count)), 1)
    limits = Limits(
        total=4,
        by_side=(3, 2),
        slot=(0.2, 0.2),
        max_weight=(0.4, 0.4),
        per_sector=0.4,
        gross=(0.6, 0.4),
        leverage=1.6,
        pairs=PairRule(cap=0.8, absolute=False, unknown_conflicts=True, screen=Table(upper + upper.T)),
    )
    book = Book(
        side=rng.integers(0, 2, count).astype(np.uint8),
        bucket=rng.integers(0, 3, count).astype(np.int32),
        slot=np.full(count, 0.2),
        leverage=rng.uniform(0.5, 3.5, count),
        buckets=4,
    )
    value = np.round(rng.uniform(0, 5, count), 1)
    return Problem(np.lexsort((np.arange(count), -value)), value, book, limits, solver)


def feasible(members: Sequence[int], problem: Problem) -> bool:
    rows, book, limits = np.array(members, dtype=np.int64), problem.book, problem.limits
    assert limits.pairs is not None
    sides = np.bincount(book.side[rows], minlength=2)
    sectors = np.bincount(book.bucket[rows], weights=book.slot[rows], minlength=4)
    pairs = list(itertools.combinations(members, 2))
    rho = limits.pairs.figures(np.array([a for a, _ in pairs], dtype=int), np.array([b for _, b in pairs], dtype=int))
    load = float(np.sum(book.slot[rows] * book.leverage[rows]))
    counts = len(rows) <= limits.total and bool(np.all(sides <= limits.by_side))
    caps = bool(np.all(sectors <= limits.per_sector + 1e-12)) and load <= limits.leverage + 1e-12
    return counts and caps and not np.any(rho > 0.8)


def best_value(problem: Problem) -> float:
    """Try every set."""
    rows = problem.order.tolist()
    sets = [members for size in range(5) for members in itertools.combinations(rows, size)]
    return max(float(problem.value[list(members)].sum()) for members in sets if feasible(members, problem))


@pytest.mark.parametrize("seed", range(12))
def test_exact_equals_trying_every_set(seed: int) -> None:
    problem = random_problem(seed, "exact")

    selection, certificate = solve_selection(problem)

    assert feasible(selection.members.tolist(), problem)
    assert certificate["value"] == pytest.approx(best_value(problem), abs=1e-9)
    assert certificate["status"] == "optimal"


@pytest.mark.parametrize("seed", range(12))
def test_the_greedy_bound_is_the_value_of_the_best_set(seed: int) -> None:
    problem = random_problem(seed, "greedy")

    selection, certificate = solve_selection(problem)

    assert feasible(selection.members.tolist(), problem)
    assert certificate["upper_bound"] == pytest.approx(best_value(problem), abs=1e-6)


@pytest.mark.parametrize("solver", ["greedy", "exact"])
def test_fixed_members_use_up_the_caps(solver: Solver) -> None:
    problem = random_problem(3, solver)
    first = solve_selection(problem)[0].members[:2]
    rest = Problem(np.setdiff1d(problem.order, first), problem.value, problem.book, problem.limits, solver, fixed=first)

    selection, _ = solve_selection(rest)

    assert selection.members[:2].tolist() == first.tolist()
    assert feasible(selection.members.tolist(), problem)


def test_nothing_to_choose_from_is_optimal() -> None:
    problem = random_problem(0, "exact")

    selection, certificate = solve_selection(Problem(EMPTY, problem.value, problem.book, problem.limits, "exact"))

    assert selection.members.tolist() == []
    assert (certificate["status"], certificate["value"], certificate["gap_pct"]) == ("optimal", 0.0, 0.0)
