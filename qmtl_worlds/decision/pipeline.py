"""One evaluation: data currency, gates, score, constraints, Top-K, hysteresis, weights."""

from __future__ import annotations

from datetime import datetime

from qmtl_worlds.decision.inputs import EvaluationInput
from qmtl_worlds.decision.outcome import Decision
from qmtl_worlds.policy.compiler import CompiledPolicy


def decide(policy: CompiledPolicy, inputs: EvaluationInput, *, now: datetime) -> Decision:
    """Decide which instances should be active at ``now`` (aware UTC), and at what weight.

    Pure: the same policy, inputs and ``now`` give the same ``Decision.canonical()`` bytes, whatever the order of the
    instances and whatever the machine.
    """
    raise NotImplementedError
