"""Put what the stages found into one answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qmtl_worlds.contracts.decision_envelope import Certificate
from qmtl_worlds.contracts.reasons import DecisionVerdict, EffectiveMode, Reason
from qmtl_worlds.decision.codes import FAIL, PASS, UNKNOWN, Floats, Rows
from qmtl_worlds.decision.currency import fresh
from qmtl_worlds.decision.exposure import violations
from qmtl_worlds.decision.inputs import EvaluationInput
from qmtl_worlds.decision.membership import by_rank
from qmtl_worlds.decision.outcome import Decision, Streaks
from qmtl_worlds.decision.table import Stages, decision_table
from qmtl_worlds.metrics.ordered import ordered_sum
from qmtl_worlds.policy.compiler import CompiledPolicy
from qmtl_worlds.policy.document import Selection

_RANKS_SHOWN = 100


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What one evaluation was asked; times are epoch seconds."""

    policy: CompiledPolicy
    inputs: EvaluationInput
    now: float
    as_of: int

    @property
    def selection(self) -> Selection:
        """Return the part of the policy that selects."""
        return self.policy.document.selection

    def mid_returns(self, rows: Rows) -> Floats:
        """Return the session returns of the mid window, T by n; ``rows`` are those of the panel."""
        window = self.inputs.panel.window(as_of=self.as_of, sessions=self.policy.document.metrics.windows.mid_days)
        return self.inputs.panel.returns[rows, window].T


def answer(run: Run, stages: Stages, certificate: Certificate, *, inconclusive: bool) -> Decision:
    """Return the decision that the stages add up to."""
    frame, planned, membership = stages.frame, stages.planned, stages.membership
    ranks = by_rank(stages.eligible.order, frame.count)
    mode, reason = effective_mode(run.inputs, any_fresh=bool(fresh(frame.fresh_until, now=run.now).any()))
    leaving = np.flatnonzero((planned.before > 0) & (planned.after == 0))
    entering = planned.final[~frame.active[planned.final]]
    return Decision(
        world_id=run.inputs.world_id,
        policy_version=run.policy.document.version,
        policy_checksum=run.policy.checksum,
        as_of=run.inputs.as_of,
        verdict=DecisionVerdict.INCONCLUSIVE if inconclusive else DecisionVerdict.OK,
        effective_mode=mode,
        reason=reason,
        topk=frame.names(stages.target.members),
        final=frame.names(planned.final),
        promote=frame.names(entering),
        demote=frame.names(leaving[np.lexsort((leaving, ranks[leaving]))]),
        hold=frame.names(planned.final[frame.active[planned.final]]),
        queued=frame.names(membership.queued),
        before=_weights(stages, planned.before),
        weights=_weights(stages, planned.after),
        reduced=_weights(stages, planned.reduced),
        reasons=planned.reasons,
        has_plan=planned.has_plan,
        ranks=_ranks(stages, ranks),
        contribution=_contribution(run, stages),
        violations=violations(frame, stages.eligible, stages.book, stages.limits),
        certificate=certificate,
        weighting=planned.scheme,
        counts=_counts(run, stages),
        streaks=_streaks(run, stages),
        table=decision_table(run.policy, stages, now=run.now),
    )


def effective_mode(inputs: EvaluationInput, *, any_fresh: bool) -> tuple[EffectiveMode, Reason]:
    """Return what the decision may be used for, and why not for more."""
    if inputs.circuit_open:
        return EffectiveMode.COMPUTE_ONLY, Reason.CIRCUIT_OPEN
    if not any_fresh:
        return EffectiveMode.COMPUTE_ONLY, Reason.NOTHING_FRESH
    if not inputs.has_applied_set:
        return EffectiveMode.VALIDATE, Reason.NO_APPLIED_SET
    return EffectiveMode(inputs.world_mode), Reason.OK


def _weights(stages: Stages, weights: Floats) -> dict[str, float]:
    return {stages.frame.keys[row]: float(weights[row]) for row in np.flatnonzero(weights > 0).tolist()}


def _ranks(stages: Stages, ranks: Rows) -> dict[str, int]:
    """Return the ranks of the first hundred and of every eligible member, best first."""
    frame, order = stages.frame, stages.eligible.order
    shown = frame.active[order] | (stages.planned.after[order] > 0)
    shown[:_RANKS_SHOWN] = True
    return {frame.keys[row]: int(ranks[row]) for row in order[shown].tolist()}


def _contribution(run: Run, stages: Stages) -> dict[str, float | None]:
    """Return weight times mean session return over the mid window, None without returns."""
    rows = stages.planned.final
    returns = run.mid_returns(stages.frame.row[rows])
    count = np.sum(~np.isnan(returns), axis=0)
    total = ordered_sum(np.nan_to_num(returns))
    weights = stages.planned.after[rows]
    return {
        stages.frame.keys[row]: float(weight * part / seen) if seen else None
        for row, weight, part, seen in zip(rows.tolist(), weights, total, count.tolist(), strict=True)
    }


def _counts(run: Run, stages: Stages) -> Mapping[str, int]:
    frame, state = stages.frame, stages.eligible.state
    return {
        "bound": frame.count,
        "fresh": int(fresh(frame.fresh_until, now=run.now).sum()),
        "eligible": int((state == PASS).sum()),
        "failed": int((state == FAIL).sum()),
        "unknown": int((state == UNKNOWN).sum()),
        "held": int(frame.held.sum()),
        "active": int(frame.active.sum()),
    }


def _streaks(run: Run, stages: Stages) -> Streaks:
    """Return what to store: the new streaks of a counting run, else what was there."""
    inputs, frame, memory = run.inputs, stages.frame, stages.memory
    if inputs.counts and inputs.advisory is None and inputs.correlations is None:
        checksum = run.policy.selection_checksum
        return Streaks(frame.keys, frame.row, memory.in_streak, memory.out_streak, memory.evidence, checksum)
    rows = frame.row
    stored = inputs.in_streak[rows], inputs.out_streak[rows], inputs.evidence[rows]
    return Streaks(frame.keys, rows, *stored, inputs.streak_checksum)
