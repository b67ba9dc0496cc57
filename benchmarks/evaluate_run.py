"""Measure evaluations on the database that the environment names, and print the figures as JSON.

``benchmarks.evaluate`` starts it. Before anything is timed, a second evaluation on the same evidence must decide the
same.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
import sys
from collections.abc import Callable, Iterator

from audit.models import AuditRun, AuditRunState, RunKind
from audit.runs import RunStart, start_run
from benchmarks.bulk_world import LAST_CLOSE, SESSIONS, build_world
from benchmarks.harness import Figure, in_turns
from qmtl_worlds import __version__
from qmtl_worlds.decision.metric_table import HISTORY, LEVERAGE, settings_of
from qmtl_worlds.decision.pipeline import decide
from qmtl_worlds.metrics.compute import compute_metrics
from qmtl_worlds.policy.compiler import CompiledPolicy
from worlds.models import World
from worlds.selectors import policy_in_force
from worlds.services.authority import act_of_shell
from worlds.services.run_rows import compiled
from worlds.work.evaluate import evaluate_world
from worlds.work.inputs import Gathered, Question, gather

ROUNDS = 9
MAX_OVER_KERNEL = 3.0
GOAL_AT = 10_000


def measure(strategies: int) -> Iterator[Figure]:
    """Time one whole evaluation, its parts and the bare kernel in turns."""
    world_id = f"bench-{strategies}"
    world = build_world(world_id, strategies=strategies)
    policy = compiled(policy_in_force(world))
    gathered = _gather(world, policy)
    evaluate = _evaluations(world_id, count=ROUNDS + 3)
    if evaluate().decision_digest != evaluate().decision_digest:
        raise AssertionError("two evaluations on the same evidence must decide the same")
    gc.collect()
    gc.freeze()
    calls: list[Callable[[], object]] = [
        lambda: _kernel(policy, gathered),
        evaluate,
        lambda: _gather(world, policy),
        lambda: decide(policy, gathered.inputs, now=LAST_CLOSE),
    ]
    kernel, whole, load, decision = in_turns(calls, rounds=ROUNDS)
    size = f"{strategies:,} x {SESSIONS}"
    goal = MAX_OVER_KERNEL if strategies == GOAL_AT else None
    for name, timing, most in [
        ("load, decide, durable record", whole, goal),
        ("load alone", load, None),
        ("decide alone", decision, None),
    ]:
        yield Figure(
            id="P11",
            name=f"{name}, {size}",
            value=timing.cpu_ms,
            unit="ms CPU",
            floor_name="kernel",
            floor=kernel.cpu_ms,
            ratio=timing.cpu_over(kernel),
            goal=most,
        )
    yield Figure("P11", f"the whole on the clock, {size}", whole.wall_ms, "ms", "kernel", kernel.wall_ms)


def _kernel(policy: CompiledPolicy, gathered: Gathered) -> object:
    """Compute what the policy reads, as the evaluation does, and nothing else."""
    refs = [*policy.metrics, HISTORY, LEVERAGE]
    return compute_metrics(gathered.inputs.panel, refs, as_of=int(LAST_CLOSE.timestamp()), settings=settings_of(policy))


def _gather(world: World, policy: CompiledPolicy) -> Gathered:
    return gather(world=world, policy=policy, question=Question(LAST_CLOSE, None, counts=False))


def _evaluations(world_id: str, *, count: int) -> Callable[[], AuditRun]:
    """Start evaluations, as the web process does, and return a call that carries out the next one, as a worker does."""
    act = act_of_shell(reason="benchmark")
    waiting = iter([f"evaluation-{number}" for number in range(count)])
    for number in range(count):
        start = RunStart(world_id, f"evaluation-{number}", RunKind.MANUAL, LAST_CLOSE, __version__, now=LAST_CLOSE)
        start_run(start=start, act=act)

    def evaluate() -> AuditRun:
        run = evaluate_world(world_id=world_id, run_id=next(waiting), act=act)
        if run.state != AuditRunState.OK:
            raise AssertionError(f"the evaluation ended as {run.state}: {run.error}")
        return run

    return evaluate


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    found = [figure for size in map(int, sys.argv[2:] or (100, 1_000, GOAL_AT)) for figure in measure(size)]
    json.dump([dataclasses.asdict(figure) for figure in found], sys.stdout)
