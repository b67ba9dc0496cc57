"""Ask for an evaluation; a worker computes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from audit.models import AuditRun, AuditRunState, RunKind
from audit.runs import RunStart, start_run
from qmtl_worlds import __version__
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import InputInvalidError, RunIdReusedError, WorldArchivedError
from qmtl_worlds.contracts.ids import check_object_id
from worlds.models import World
from worlds.selectors import get_world, policy_in_force
from worlds.services.dispatch import EVALUATE, ring_after_commit
from worlds.stores.clock import world_now


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """One recorded evaluation; ``as_of`` is the time of the data, the world's now where absent.

    ``reply_to`` is where a waiting caller looks for the answer.
    """

    run_id: str
    kind: RunKind = RunKind.MANUAL
    as_of: datetime | None = None
    slot: datetime | None = None
    reply_to: str = ""


@transaction.atomic
def request_evaluation(*, world_id: str, request: EvaluationRequest, act: Act) -> AuditRun:
    """Record that an evaluation starts and ring for a worker, or return the run of that id.

    Raises:
        WorldArchivedError: the world is archived.
        PolicyNotFoundError: no policy is in force.
        InputInvalidError: ``as_of`` is in the world's future.
        RunIdReusedError: the run id belongs to an evaluation of other data.
    """
    act.require("evaluation.run", world_id)
    check_object_id(request.run_id, field="run_id")
    world = get_world(world_id)
    if world.state == World.State.DELETED:
        raise WorldArchivedError(world_id, state=world.state)
    policy_in_force(world)
    now = world_now(world, now=act.now)
    as_of = request.as_of or now
    if as_of > now:
        raise InputInvalidError(field="as_of", reason=f"is after the world's clock, {now.isoformat()}")
    start = RunStart(world_id, request.run_id, request.kind, as_of, __version__, request.slot, now)
    run, is_new = start_run(start=start, act=act)
    if not is_new and request.as_of is not None and run.as_of != request.as_of:
        raise RunIdReusedError(request.run_id, request_digest=run.inputs_digest)
    if run.state == AuditRunState.RUNNING:
        ring_after_commit(
            task=EVALUATE, queue="compute", world_id=world_id, run_id=request.run_id, reply_to=request.reply_to
        )
    return run
