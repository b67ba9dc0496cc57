"""Make a world of 200 strategies with one recorded evaluation that wants them all; print tokens as JSON."""

from __future__ import annotations

import json
import sys

from benchmarks.bulk_world import LAST_CLOSE, build_world
from benchmarks.servers import ACTED
from worlds.services.authority import act_of_shell
from worlds.services.evaluations import EvaluationRequest, request_evaluation
from worlds.services.tokens import create_token
from worlds.work.evaluate import evaluate_world

STRATEGIES = 200
POLICY = """\
world: {world}
version: 1
data_currency: {{max_lag: 3650d, min_history: 200d}}
selection:
  gates: {{and: ["max_dd_30d <= 1"]}}
  score: "10 + sharpe_30d"
  topk: {{total: 200, by_side: {{long: 100, short: 100}}}}
  constraints: {{exposure: {{gross_budget: {{long: 0.5, short: 0.5}}}}}}
"""

if __name__ == "__main__":
    act = act_of_shell(reason="benchmark")
    build_world(ACTED, strategies=STRATEGIES, policy=POLICY)
    request_evaluation(world_id=ACTED, request=EvaluationRequest("first", as_of=LAST_CLOSE), act=act)
    found = evaluate_world(world_id=ACTED, run_id="first", act=act)
    if found.instance_count != STRATEGIES:
        raise AssertionError(f"{found.instance_count} were evaluated")
    tokens = [create_token(role=role, name=role, act=act).text for role in ("gateway", "runner")]
    sys.stdout.write(json.dumps(tokens) + "\n")
