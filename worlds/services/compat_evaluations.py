"""Evaluations that QMTL's clients ask for: the metrics that they send are stored, then the run is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from django.db import transaction

from audit.models import AuditRun
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.digests import digest
from worlds.selectors import get_world, policy_in_force
from worlds.services.compat import flat_metrics
from worlds.services.evaluations import EvaluationRequest, request_evaluation
from worlds.services.reporting import report_many
from worlds.services.run_rows import compiled
from worlds.services.step_facts import newest_ok_run

RETRY_SECONDS: Final = 60
"""The same question again within a minute is a retry: the same run answers it."""


@transaction.atomic
def take_metrics(*, world_id: str, metrics: Mapping[str, Mapping[str, Any]], as_of: datetime, act: Act) -> None:
    """Store what a client says of its strategies; the policy in force decides which names count.

    Raises:
        PolicyNotFoundError: none is in force.
        StrategyNotFoundError: a strategy is not bound.
    """
    policy = compiled(policy_in_force(get_world(world_id)))
    told = {
        strategy_id: flat for strategy_id, nested in metrics.items() if (flat := flat_metrics(nested, policy=policy))
    }
    report_many(world_id=world_id, told=told, as_of=as_of, act=act)


def start_evaluation(*, world_id: str, run_id: str, reply_to: str, act: Act) -> AuditRun:
    """Record that an evaluation of what is stored starts, or return the one of that id."""
    return request_evaluation(world_id=world_id, request=EvaluationRequest(run_id, reply_to=reply_to), act=act)


def newest_evaluation(world_id: str) -> AuditRun | None:
    """Return the evaluation that a plan without one rests on, None where the world has none."""
    return newest_ok_run(world_id)


def minute_of(now: datetime) -> datetime:
    """Return the beginning of the present minute: metrics without a time of their own are as of then."""
    seconds = int(now.timestamp()) // RETRY_SECONDS * RETRY_SECONDS
    return datetime.fromtimestamp(seconds, UTC)


def retried_run_id(question: object, *, now: datetime) -> str:
    """Name a run by its question and the minute."""
    return f"qmtl:{digest([question, minute_of(now).isoformat()]).removeprefix('sha256:')[:32]}"
