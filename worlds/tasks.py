"""What the workers do when the bell rings; each task looks at rows and goes on from there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import structlog
from celery import shared_task
from celery.signals import heartbeat_sent
from django.db import DatabaseError
from redis import RedisError

from audit.models import AuditRun
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.digests import canonical_json
from qmtl_worlds.contracts.errors import RunNotFoundError, WorldsError
from qmtl_worlds.contracts.ids import InstanceKey
from worlds.models import World
from worlds.services.advance import advance
from worlds.services.authority import act_of_schedule, act_of_system
from worlds.services.dispatch import ADVANCE, EVALUATE, MEASURE, PREVIEW, beat_of_worker, reply
from worlds.services.scheduling import claim_due_slots
from worlds.stores.clock import database_now
from worlds.work.evaluate import evaluate_world, give_up
from worlds.work.measure import measure
from worlds.work.preview import preview_world
from worlds.work.seal import merge_segments, seal_tail

SEAL_BEHIND_SECONDS: Final = 120
"""How long after its close most rows of a bar have come."""
_log = structlog.get_logger(__name__)


@shared_task(name=EVALUATE)
def evaluate_task(*, world_id: str, run_id: str, reply_to: str = "", **_ignored: object) -> None:
    """Compute a started evaluation, and tell whoever waits for it that it has ended."""
    act = _act_of(world_id, run_id)
    try:
        evaluate_world(world_id=world_id, run_id=run_id, act=act)
    except DatabaseError:
        raise  # the run stays started, and the tick rings again
    except Exception as error:  # noqa: BLE001 - the task boundary: whatever broke, nobody may wait for ever
        _log.exception("evaluation_broke", world_id=world_id, run_id=run_id)
        give_up(world_id=world_id, run_id=run_id, error=f"{type(error).__name__}: {error}", act=act)
    if reply_to:
        reply(key=reply_to, body=run_id.encode())


@shared_task(name=PREVIEW)
def preview_task(
    *, world_id: str, as_of: str, now: str, question: dict[str, Any], reply_to: str, **_ignored: object
) -> None:
    """Answer a what-if question; nothing is stored."""
    with _refusals_told(reply_to):
        answer = preview_world(
            world_id=world_id,
            as_of=datetime.fromisoformat(as_of),
            now=datetime.fromisoformat(now),
            question=question,
        )
        reply(key=reply_to, body=canonical_json(answer))


@shared_task(name=MEASURE)
def measure_task(*, world_id: str, key: str, as_of: str, now: str, reply_to: str, **_ignored: object) -> None:
    """Answer with every metric of one instance."""
    with _refusals_told(reply_to):
        answer = measure(
            world_id=world_id,
            key=InstanceKey.from_text(key),
            as_of=datetime.fromisoformat(as_of),
            now=datetime.fromisoformat(now),
        )
        reply(key=reply_to, body=canonical_json(answer))


@shared_task(name=ADVANCE)
def advance_task(*, world_id: str, run_id: str, **_ignored: object) -> None:
    """Take an apply run as far as it goes now; the tick does the rest."""
    advance(world_id=world_id, run_id=run_id, act=act_of_system(reason="apply"))


@shared_task(name="worlds.claim_due_slots")
def claim_due_slots_task(**_ignored: object) -> None:
    """Start due evaluations; beat only rings, the tick would do it within a second."""
    claim_due_slots(act=act_of_schedule(reason="schedule"))


@shared_task(name="worlds.seal")
def seal_task(**_ignored: object) -> None:
    """Move bars that have all come into blocks; what readers see does not change, only how fast they see it."""
    before = int(database_now().timestamp()) - SEAL_BEHIND_SECONDS
    for world_id in World.objects.exclude(state=World.State.DELETED).values_list("id", flat=True):
        while seal_tail(world_id=world_id, before=before):
            pass
        while merge_segments(world_id=world_id):
            pass


@contextmanager
def _refusals_told(reply_to: str) -> Iterator[None]:
    """Answer a refusal to whoever waits: it is an answer too."""
    try:
        yield
    except WorldsError as error:
        told = {"code": error.code, "detail": error.detail, "facts": error.facts}
        reply(key=reply_to, body=canonical_json({"error": told}))


@heartbeat_sent.connect(dispatch_uid="worlds.worker_beat")
def tell_that_the_worker_lives(**_signal: object) -> None:
    """Leave a sign of life for /health; Redis away is no reason to fail."""
    try:
        beat_of_worker()
    except RedisError:
        _log.warning("heartbeat_lost")


def _act_of(world_id: str, run_id: str) -> Act:
    """Return the act of whoever asked for the run, with the schedule's rights and the present time."""
    run = AuditRun.objects.filter(world_id=world_id, run_id=run_id).only("actor", "reason", "request_id").first()
    if run is None:
        raise RunNotFoundError(world_id, run_id)
    return replace(act_of_schedule(reason=run.reason), actor=run.actor, request_id=run.request_id)
