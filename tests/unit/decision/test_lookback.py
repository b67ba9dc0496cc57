from __future__ import annotations

import pytest

from qmtl_worlds.contracts.metric_names import MAX_WINDOW_DAYS
from qmtl_worlds.decision.lookback import sessions_needed
from qmtl_worlds.policy.compiler import compile_policy

POLICY = """\
world: w1
version: 1
data_currency: {{max_lag: 1d, min_history: {history}}}
selection:
  gates: {{and: ["{gate}"]}}
  score: "sharpe_short"
  topk: {{total: 1}}
  constraints: {{exposure: {{gross_budget: {{long: 1.0}}}}{correlation}}}
"""


@pytest.mark.parametrize(
    ("gate", "history", "correlation", "sessions"),
    [
        ("sharpe_short > 0", "0d", "", 90),  # contributions read the mid window
        ("sharpe_long > 0", "0d", "", 365),
        ("trades_120d > 0", "0d", "", 120),
        ("sharpe_short > 0", "200d", "", 200),
        ("sharpe_short > 0", "0d", ", correlation: {max_pairwise: 0.8, window: 150d}", 150),
        ("sample_days > 30", "0d", "", MAX_WINDOW_DAYS),
        ("leverage < 2 and reported.alpha > 0", "0d", "", 90),
    ],
)
def test_look_back_is_the_longest_that_anything_reads(gate: str, history: str, correlation: str, sessions: int) -> None:
    policy = compile_policy(POLICY.format(gate=gate, history=history, correlation=correlation))

    assert sessions_needed(policy) == sessions
