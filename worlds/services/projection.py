"""Copy a world's active set to Redis, after every visible change and each second again."""

from __future__ import annotations

import structlog
from django.db import transaction

from qmtl_worlds.contracts.errors import StoreUnavailableError
from qmtl_worlds.failpoints import reach
from qmtl_worlds.lifecycle.gate import answer
from worlds.services.gate_facts import member_facts, read_committed
from worlds.stores.redis_projection import redis_now_ms, replace_copy

_log = structlog.get_logger(__name__)


def project_after_commit(*, world_id: str) -> None:
    """Project once the change is committed; Redis away is no reason to fail, the tick comes by each second."""
    transaction.on_commit(lambda: _project_if_possible(world_id))


def project_world(*, world_id: str) -> bool:
    """Write the world's copy, valid for one lease.

    False where Redis holds a newer one, it took too long, or the world would not stand still.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    reach("project.before_time")
    started_ms = redis_now_ms()  # before the rows are read (R2)
    reach("project.before_rows")
    reading = read_committed(world_id=world_id, read=lambda world: member_facts(world=world))
    if not reading.facts.confirmed:
        return False
    world = reading.world
    answers = {key.text: answer(entry, reading.facts, reading.at) for key, entry in sorted(reading.entries.items())}
    reach("project.before_lua")
    done = replace_copy(
        world_id=world.id,
        position=reading.facts.position,
        deadline_ms=started_ms + world.lease_ms,
        meta={"generation": world.generation, "sequence": world.sequence},
        entries={
            key: {"active": body.active, "weight": body.weight, "gate": body.gate.value, "reason": body.reason}
            for key, body in answers.items()
        },
    )
    reach("project.after_lua")
    return done


def _project_if_possible(world_id: str) -> None:
    try:
        project_world(world_id=world_id)
    except StoreUnavailableError:
        _log.warning("projection_postponed", world_id=world_id)
