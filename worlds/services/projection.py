"""Copy a world's active set to Redis, after every visible change and each second again."""

from __future__ import annotations

import structlog
from django.db import transaction

from qmtl_worlds.contracts.errors import StoreUnavailableError
from qmtl_worlds.lifecycle.gate import answer
from worlds.selectors import get_world, position_of
from worlds.services.gate_facts import entry_facts, world_facts
from worlds.stores.clock import database_now, world_now
from worlds.stores.redis_projection import redis_now_ms, replace_copy

_log = structlog.get_logger(__name__)


def project_after_commit(*, world_id: str) -> None:
    """Project once the change is committed; Redis away is no reason to fail, the tick comes by each second."""
    transaction.on_commit(lambda: _project_if_possible(world_id))


def project_world(*, world_id: str) -> bool:
    """Write the world's copy, valid for one lease; False where Redis holds a newer one or it took too long.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    started_ms = redis_now_ms()  # before the rows are read (R2)
    world = get_world(world_id)
    now = database_now()
    facts = world_facts(world=world, now=now)
    at = world_now(world, now=now)
    answers = {
        key.text: answer(entry, facts, at) for key, entry in entry_facts(world=world).items() if entry.weight > 0
    }
    return replace_copy(
        world_id=world.id,
        position=position_of(world),
        deadline_ms=started_ms + world.lease_ms,
        meta={"generation": world.generation, "sequence": world.sequence},
        entries={
            key: {"active": body.active, "weight": body.weight, "gate": body.gate.value, "reason": body.reason}
            for key, body in answers.items()
        },
    )


def _project_if_possible(world_id: str) -> None:
    try:
        project_world(world_id=world_id)
    except StoreUnavailableError:
        _log.warning("projection_postponed", world_id=world_id)
