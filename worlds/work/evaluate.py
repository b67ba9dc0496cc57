"""Evaluate a world in a worker: read, decide, and store the outcome in one transaction."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import numpy as np
import structlog
from django.db import transaction

from audit.models import AuditRun, AuditRunState, HighlightKind, RunKind
from audit.runs import RunOutcome, fail_run, finish_run
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import PlanStaleError, RunNotFoundError, WorldsError
from qmtl_worlds.contracts.reasons import DecisionVerdict
from qmtl_worlds.decision.outcome import Decision
from qmtl_worlds.decision.pipeline import decide
from qmtl_worlds.failpoints import reach
from strategies.models import StrategyInstance
from strategies.services.revision import pin_revision
from worlds.models import World
from worlds.selectors import get_world, policy_in_force
from worlds.services.apply import carry_out_scheduled
from worlds.services.changes import announce, locked_world
from worlds.services.run_rows import compiled
from worlds.work.exposures import exposures_of
from worlds.work.inputs import Gathered, Question, gather
from worlds.work.streaks import StoredStreaks, write_streaks

ATTEMPTS: Final = 12
"""Of so many evaluations of one world at once, each still gets its turn."""
_log = structlog.get_logger(__name__)


def evaluate_world(*, world_id: str, run_id: str, act: Act) -> AuditRun:
    """Compute a started evaluation and store it; one that is finished is returned as it is.

    A concurrent evaluation of the same world makes this one start over. An evaluation that cannot decide ends as
    ``error`` with the reason, and changes nothing.

    Raises:
        RunNotFoundError: nobody started that run.
    """
    run = AuditRun.objects.filter(world_id=world_id, run_id=run_id).first()
    if run is None:
        raise RunNotFoundError(world_id, run_id)
    for attempt in range(1, ATTEMPTS + 1):
        if run.state != AuditRunState.RUNNING:
            break
        try:
            return _evaluate(run, act)
        except PlanStaleError as error:
            run.refresh_from_db()
            if attempt == ATTEMPTS:
                return _failed(run, error, act)
        except WorldsError as error:
            run.refresh_from_db()
            return _failed(run, error, act)
    return run


def _failed(run: AuditRun, error: WorldsError, act: Act) -> AuditRun:
    """End the run as an error, unless another worker has ended it meanwhile."""
    if run.state != AuditRunState.RUNNING:
        return run
    return fail_run(run=run, error=str(error), act=act)


def give_up(*, world_id: str, run_id: str, error: str, act: Act) -> None:
    """End a run that a fault of ours broke, so that nobody waits for it; nothing else changes."""
    run = AuditRun.objects.get(world_id=world_id, run_id=run_id)
    if run.state == AuditRunState.RUNNING:
        fail_run(run=run, error=error, act=act)


def _evaluate(run: AuditRun, act: Act) -> AuditRun:
    started = time.perf_counter()
    revision = pin_revision(world_id=run.world_id)
    world = get_world(run.world_id)
    version = policy_in_force(world)
    policy = compiled(version)
    counts = run.kind != RunKind.ADVISORY
    question = Question(run.as_of, revision, counts=counts, looks_back=run.as_of < run.now)
    gathered = gather(world=world, policy=policy, question=question)
    decision = decide(policy, gathered.inputs, now=run.now)
    exposures = exposures_of(policy=policy, inputs=gathered.inputs, decision=decision)
    outcome = _outcome(decision, gathered, exposures)
    finished = _store(run, decision, gathered, outcome, act)
    _log.info(
        "evaluated",
        world_id=run.world_id,
        run_id=run.run_id,
        instances=outcome.instance_count,
        ms=round((time.perf_counter() - started) * 1000),
    )
    return finished


def _outcome(decision: Decision, gathered: Gathered, exposures: dict[str, Any]) -> RunOutcome:
    inconclusive = decision.verdict is DecisionVerdict.INCONCLUSIVE
    canonical, chunks = decision.stored()
    return RunOutcome(
        state=AuditRunState.INCONCLUSIVE if inconclusive else AuditRunState.OK,
        decision=canonical,
        inputs={**gathered.reference, "exposures": exposures},
        inputs_digest=gathered.digest,
        policy_version=decision.policy_version,
        policy_checksum=decision.policy_checksum,
        instance_count=gathered.inputs.count,
        chunks=chunks,
        highlights={
            HighlightKind.PROMOTED: decision.promote,
            HighlightKind.DEMOTED: decision.demote,
            HighlightKind.TOPK: decision.topk,
            HighlightKind.BLOCKED: decision.queued,
        },
    )


@transaction.atomic
def _store(run: AuditRun, decision: Decision, gathered: Gathered, outcome: RunOutcome, act: Act) -> AuditRun:
    """Store the record, the streaks and, for the schedule, the runs of the plan: all of it or nothing."""
    world = locked_world(run.world_id)
    in_force = policy_in_force(world)
    if world.generation != gathered.generation or in_force.checksum != decision.policy_checksum:
        raise PlanStaleError("The world changed during the evaluation.", world_id=world.id)
    if gathered.inputs.counts:
        _store_streaks(run, decision, gathered, act.now)
    finished = finish_run(run=run, outcome=outcome, act=act)
    if world.mode == World.Mode.REPLAY:
        _store_freshness(gathered)
    payload = {"run_id": run.run_id, "verdict": outcome.state, "has_plan": decision.has_plan}
    announce(world, kind="evaluation_run_updated", payload=payload, now=act.now)
    if run.kind == RunKind.SCHEDULED:
        carry_out_scheduled(world=world, evaluation=finished, act=act)
    transaction.on_commit(partial(reach, "evaluate.after_commit"))
    reach("evaluate.before_commit")
    return finished


def _store_streaks(run: AuditRun, decision: Decision, gathered: Gathered, now: datetime) -> None:
    """Streaks come sorted by key; they are stored by instance id, ascending."""
    instances = gathered.instances[decision.streaks.row]
    order = np.argsort(instances)
    streaks = StoredStreaks(
        revision=gathered.streaks.revision,
        selection_checksum=decision.streaks.checksum,
        instance_ids=instances[order],
        in_streak=decision.streaks.in_streak[order],
        out_streak=decision.streaks.out_streak[order],
        evidence=decision.streaks.evidence[order],
    )
    write_streaks(world_id=run.world_id, streaks=streaks, run_id=run.run_id, now=now)


def _store_freshness(gathered: Gathered) -> None:
    """In a replay, data is as fresh as it was at the replayed time."""
    until = dict(zip(gathered.instances.tolist(), gathered.inputs.fresh_until.tolist(), strict=True))
    instances = list(StrategyInstance.objects.filter(pk__in=until))
    for instance in instances:
        seconds = until[instance.pk]
        instance.fresh_until = None if math.isnan(seconds) else datetime.fromtimestamp(seconds, UTC)
    StrategyInstance.objects.bulk_update(instances, ["fresh_until"], batch_size=500)
