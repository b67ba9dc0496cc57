"""One evaluation: data currency, gates, score, constraints, Top-K, hysteresis, weights."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.contracts.reasons import Reason
from qmtl_worlds.decision.answer import Run, answer
from qmtl_worlds.decision.codes import UNKNOWN, Floats, Rows
from qmtl_worlds.decision.columns import Frame, last_closes, sort_columns
from qmtl_worlds.decision.constraints import Book, Limits, book_of, exposure_faults, limits_of
from qmtl_worlds.decision.currency import currency
from qmtl_worlds.decision.expressions import Table, number
from qmtl_worlds.decision.gates import GateResult, broadcast, judge_gates
from qmtl_worlds.decision.hysteresis import Memory, dwell_left, remember
from qmtl_worlds.decision.inputs import EvaluationInput
from qmtl_worlds.decision.membership import Scene, settle
from qmtl_worlds.decision.metric_table import HISTORY, LEVERAGE, VOLATILITY, metric_table
from qmtl_worlds.decision.outcome import Decision
from qmtl_worlds.decision.pairs import pair_rule
from qmtl_worlds.decision.planning import plan_weights
from qmtl_worlds.decision.scoring import Checks, Eligibility, eligibility
from qmtl_worlds.decision.selection import Selection
from qmtl_worlds.decision.solver import Problem, solve_selection
from qmtl_worlds.decision.table import Stages
from qmtl_worlds.decision.weights import Sizing
from qmtl_worlds.policy.compiler import CompiledPolicy


def decide(policy: CompiledPolicy, inputs: EvaluationInput, *, now: datetime) -> Decision:
    """Decide which instances should be active at ``now`` (aware UTC), and at what weight.

    Pure: the same policy, inputs and ``now`` give the same ``Decision.canonical()`` bytes, whatever the order of the
    instances and whatever the machine.
    """
    run = Run(policy, inputs, now=now.timestamp(), as_of=int(inputs.as_of.timestamp()))
    view = _look(run)
    problem = Problem(view.eligible.order, view.eligible.value, view.book, view.limits, run.selection.solver)
    target, certificate = solve_selection(problem)
    memory = _memory(run, view, target)
    blocked = _blocked(view, circuit_open=inputs.circuit_open)
    scene = Scene(view.frame, view.eligible, target, memory, problem, run.selection, blocked)
    membership = settle(scene)
    planned = plan_weights(view.frame, view.eligible.state, membership, _sizing(run, view), blocked=blocked is not None)
    stages = Stages(
        frame=view.frame,
        metrics=view.metrics,
        gates=view.gates,
        eligible=view.eligible,
        target=target,
        memory=memory,
        membership=membership,
        planned=planned,
        limits=view.limits,
        book=view.book,
    )
    return answer(run, stages, certificate, inconclusive=_inconclusive(view))


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """The world as the policy sees it, before anything is selected."""

    frame: Frame
    metrics: Table
    gates: GateResult
    eligible: Eligibility
    limits: Limits
    book: Book


def _look(run: Run) -> _View:
    frame = sort_columns(run.inputs, selection_checksum=run.policy.selection_checksum)
    metrics = metric_table(run.policy, run.inputs, rows=frame.row, as_of=run.as_of)
    gates = judge_gates(run.policy, metrics, count=frame.count)
    exposure, leverage = run.selection.constraints.exposure, metrics[LEVERAGE.name]
    document = run.policy.document
    checks = Checks(
        currency=currency(
            frame.fresh_until,
            metrics[HISTORY.name].value,
            now=run.now,
            min_history=document.data_currency.min_history_days,
        ),
        gates=gates.judgement,
        score=broadcast(number(run.policy.score, metrics), frame.count),
        exposure=exposure_faults(frame, leverage, exposure),
    )
    eligible = eligibility(frame, checks, min_score=run.selection.min_score, bonus=run.selection.incumbent_bonus)
    limits = limits_of(run.policy, pair_rule(run.selection.constraints.correlation, run.inputs, frame, as_of=run.as_of))
    return _View(frame, metrics, gates, eligible, limits, book_of(frame, leverage, limits, exposure))


def _memory(run: Run, view: _View, target: Selection) -> Memory:
    frame, hysteresis = view.frame, run.selection.hysteresis
    in_target = np.zeros(frame.count, dtype=bool)
    in_target[target.members] = True
    return remember(
        frame,
        view.eligible.state,
        in_target,
        _evidence(run, frame),
        dwell_left=dwell_left(frame, hysteresis, now=run.now),
    )


def _evidence(run: Run, frame: Frame) -> NDArray[np.int64]:
    """Return the last complete period of each instance; metrics from a request's body are always new evidence."""
    if run.inputs.advisory is not None:
        return frame.evidence + 1
    return last_closes(run.inputs.panel, as_of=run.as_of)[frame.row]


def _inconclusive(view: _View) -> bool:
    """Tell whether half or more of the active instances, at least one, cannot be judged."""
    active = int(view.frame.active.sum())
    unknown = int((view.frame.active & (view.eligible.state == UNKNOWN)).sum())
    return active > 0 and 2 * unknown >= active


def _blocked(view: _View, *, circuit_open: bool) -> Reason | None:
    if circuit_open:
        return Reason.CIRCUIT_OPEN
    return Reason.INCONCLUSIVE if _inconclusive(view) else None


def _sizing(run: Run, view: _View) -> Sizing:
    weights = run.selection.weights

    def returns(rows: Rows) -> Floats:
        return run.mid_returns(view.frame.row[rows])

    return Sizing(
        book=view.book,
        limits=view.limits,
        scheme=weights.scheme,
        volatility=view.metrics.get(VOLATILITY.name),
        score=view.eligible.score,
        returns=returns,
        min_obs=run.policy.document.metrics.min_obs,
        band=weights.band,
    )
