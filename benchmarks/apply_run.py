"""Apply plans of several sizes on the servers that the environment names, and tell what each apply cost.

``benchmarks.apply`` starts it. The last line that it prints is JSON: by size, a list of what was counted and timed.
"""

from __future__ import annotations

import gc
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from datetime import datetime, timedelta
from typing import Any, Final, cast
from unittest.mock import patch

from django.contrib.auth.models import User
from django.db import connection
from redis.connection import AbstractConnection

from benchmarks.bulk_world import LAST_CLOSE, build_world
from qmtl_worlds.contracts.acts import ANY_WORLD, Act, Grants
from qmtl_worlds.contracts.states import RunState
from worlds.services.advance import advance
from worlds.services.apply import ApplyRequest, request_apply
from worlds.services.approvals import approve
from worlds.services.authority import act_of_shell, roles
from worlds.services.evaluations import EvaluationRequest, request_evaluation
from worlds.services.members import grant_role
from worlds.stores.clock import database_now
from worlds.work.evaluate import evaluate_world

WORLDS: Final = 5
FILL, REDUCTION, INCREASE = "fill", "reduction of a change", "increase of a change"
LEASE_MS: Final = 1_000
DRAIN_SECONDS: Final = 2.0
WRITES: Final = ("INSERT", "UPDATE", "DELETE")
POLICY: Final = """\
world: {{world}}
version: 1
data_currency: {{{{max_lag: 3650d, min_history: 5d}}}}
metrics: {{{{min_obs: 5}}}}
selection:
  gates: {{{{and: ["max_dd_30d <= 0.9"]}}}}
  score: "sharpe_30d"
  topk: {{{{total: {total}}}}}
  constraints:
    exposure: {{{{gross_budget: {{{{long: 0.6, short: 0.4}}}}}}}}
position_policy: {{{{on_promote: carry, on_demote: carry}}}}
"""


def main() -> None:
    """Apply and apply again, and print what each took."""
    approver = User.objects.create_user("bob", email="bob@example.org")
    grant_role(user=approver, role="approver", world=None, act=act_of_shell(reason="benchmark"))
    sizes = json.loads(os.environ["QW_BENCHMARK_SIZES"])
    _applies(sizes[0] + 1)  # warms up: what a process does once is no apply's cost
    gc.freeze()  # as the tick and Celery's processes do
    print(json.dumps({str(size): _applies(size) for size in sizes}))


def _applies(size: int) -> dict[str, list[dict[str, float]]]:
    """Fill worlds, by one run each, then change about half of what is in them, by a run that reduces and one more."""
    found: dict[str, list[dict[str, float]]] = {FILL: [], REDUCTION: [], INCREASE: []}
    for number in range(WORLDS):
        world_id = f"bench-{size}-{number}"
        build_world(world_id, strategies=2 * size, policy=POLICY.format(total=size), lease_ms=LEASE_MS)
        (fill,) = _apply(world_id, "fill", LAST_CLOSE - timedelta(days=30))
        reduction, increase = _apply(world_id, "change", LAST_CLOSE)
        for kind, apply in ((FILL, fill), (REDUCTION, reduction), (INCREASE, increase)):
            found[kind].append(apply)
    return found


def _apply(world_id: str, run_id: str, as_of: datetime) -> list[dict[str, float]]:
    """Request and approve one plan, and carry out the runs that it makes, one after the other.

    What is counted and timed of each is all but the approval and the drain, the request in full.
    """
    evaluation = f"{run_id}-eval"
    request_evaluation(world_id=world_id, request=EvaluationRequest(evaluation, as_of=as_of), act=_act("alice"))
    evaluate_world(world_id=world_id, run_id=evaluation, act=_act("alice"))
    request = ApplyRequest(run_id, evaluation)
    costs = Costs()
    with costs.counted():
        asked = request_apply(world_id=world_id, request=request, act=_act("alice")).run
    approve(
        world_id=world_id, run_id=run_id, plan_hash=asked.plan_hash, reauthenticated_at=database_now(), act=_act("bob")
    )
    runs = [run.run_id for run in (asked.reduce_run, asked) if run is not None]
    return [_carry_out(world_id, run, copy(costs)) for run in runs]


def _carry_out(world_id: str, run_id: str, costs: Costs) -> dict[str, float]:
    """Carry one run out; ``costs`` begins with what its request has cost."""
    answer_ms = costs.milliseconds
    with costs.counted():
        run = advance(world_id=world_id, run_id=run_id, act=_act("worker"))
    if run.state == RunState.DRAINING:
        time.sleep(DRAIN_SECONDS)
        with costs.counted():
            run = advance(world_id=world_id, run_id=run_id, act=_act("worker"))
    if run.state != RunState.DONE:
        raise AssertionError(f"{run_id} of {world_id} ended as {run.state}")
    return {"answer_ms": answer_ms, "work_ms": costs.milliseconds, "commits": costs.commits, "calls": costs.calls}


def _act(name: str) -> Act:
    """Return an act of a person who holds every right, now."""
    everything = frozenset().union(*roles().people.values())
    grants = Grants({ANY_WORLD: everything})
    return Act(f"person:{name}", "benchmark", database_now(), person=f"{name}@example.org", grants=grants)


class Costs:
    """Counts what this thread commits and what it asks of Redis, and the time between."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self.commits, self.calls, self.milliseconds = 0, 0, 0.0
        self._has_written = False

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what happens inside; a transaction that wrote nothing is no commit."""
        thread, commit = threading.get_ident(), connection.commit
        send = cast("Callable[..., None]", AbstractConnection.send_packed_command)

        def counting_commit() -> None:
            self.commits += self._has_written
            self._has_written = False
            commit()

        def counting_send(redis: AbstractConnection, *words: Any, **options: Any) -> None:
            self.calls += threading.get_ident() == thread
            send(redis, *words, **options)

        replaced = patch.object(AbstractConnection, "send_packed_command", counting_send)
        with patch.object(connection, "commit", counting_commit), replaced, connection.execute_wrapper(self._note):
            started = time.perf_counter()
            yield
            self.milliseconds += 1000 * (time.perf_counter() - started)

    def _note(self, execute: Callable[..., Any], sql: str, *words: Any) -> Any:
        self._has_written |= sql.startswith(WRITES)
        return execute(sql, *words)


if __name__ == "__main__":
    main()
