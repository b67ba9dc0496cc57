"""Evaluate a policy over a file of returns, session after session, as a library call."""

from __future__ import annotations

from pathlib import Path

from qmtl_worlds.explain import explain
from qmtl_worlds.offline.evaluation import Moment, evaluate_returns
from qmtl_worlds.offline.returns_file import read_returns
from qmtl_worlds.offline.state_file import WorldState, next_state
from qmtl_worlds.policy.compiler import compile_policy

policy = compile_policy(Path("config/worlds/us_equity_rules.yml").read_bytes())
returns = read_returns("docs/examples/returns.csv.gz", calendar=policy.document.metrics.calendar)

state: WorldState | None = None
for close in returns.closes[-20:]:
    decision = evaluate_returns(policy, returns, moment=Moment(close, close), previous=state)
    state = next_state(decision, now=close, before=state)
    print(f"{close:%Y-%m-%d}", "in:", *decision.promote, "out:", *decision.demote)  # noqa: T201

again = evaluate_returns(policy, returns, previous=state)  # on the same data: no streak counts twice
print(explain(again.recorded("donchian-20-10.AAPL|long")))  # noqa: T201
