"""Known ways to get it wrong, put into a nursery so that real processes do it: the harness must notice.

All fourteen show on real processes; what has to happen so that each does is its aim, in the session.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

from django.db import connection

from formal.patches import TABLE_PATCHES, Patch
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.contracts.states import EXCLUSIVE_STATES, RunState
from qmtl_worlds.failpoints import reach
from qmtl_worlds.lifecycle.run import Effect, RemoveHold
from qmtl_worlds.sdk import permission
from worlds.models import ApplyRun, GateHold, World
from worlds.services import active_sets, advance, projection, runs
from worlds.stores import redis_projection
from worlds.stores.clock import database_now
from worlds.stores.redis_server import redis_client
from worlds.work import tick

_do: Final = advance._do  # noqa: SLF001 - the mutant stands in its place
_commit_set: Final = active_sets.commit_set
_replace_copy: Final = redis_projection.replace_copy
_EXPIRES: Final = "redis.call('PEXPIREAT'"
_ONE_INCREASE: Final = "apply_run_one_live_increase"


def mutate(names: Iterable[str]) -> None:
    """Make the product wrong in this process, in each of the ways named; for good."""
    for name in names:
        for patch in MUTANTS[name]:
            getattr(patch.place, patch.name)  # what is not there cannot be made wrong
            setattr(patch.place, patch.name, patch.value)


@contextmanager
def unguarded(names: Iterable[str]) -> Iterator[None]:
    """Take away what the database itself would refuse of these mutants, for a while; what is left open then is ended.

    Only of a throw-away database.
    """
    if "B3" not in names:
        yield
        return
    constraint = next(one for one in ApplyRun._meta.constraints if one.name == _ONE_INCREASE)  # noqa: SLF001 - Django's own
    with connection.schema_editor() as editor:
        editor.remove_constraint(ApplyRun, constraint)
    connection.close()
    yield
    left = ApplyRun.objects.filter(state__in=[state.value for state in EXCLUSIVE_STATES])
    left.update(state=RunState.CANCELLED.value)
    with connection.schema_editor() as editor:
        editor.add_constraint(ApplyRun, constraint)


def _lifting_all(effect: Effect, world: World, run: ApplyRun, act: Any) -> None:
    _do(effect, world, run, act)
    if isinstance(effect, RemoveHold):
        GateHold.objects.filter(world=world).delete()


def _under_the_old_number(*, world: World, run: ApplyRun, **words: Any) -> Any:
    """Commit what an aborted switch goes back to, and call it by the number it had before."""
    committed = _commit_set(world=world, run=run, **words)
    if run.state == RunState.ROLLING_BACK:
        world.generation = run.base_generation
        World.objects.filter(id=world.id).update(generation=world.generation)
    return committed


def _late(*, sent: float, lease_ms: float) -> float:
    """Count a lease from when the answer came in."""
    del sent
    return time.monotonic() + lease_ms / 1000


def _nothing(**_words: object) -> bool:
    """Compare no copy with the rows, and call that well."""
    return True


def _nobody(_world: World) -> None:
    """Find no other increase under way."""


def _without_expiry(script: str) -> str:
    """Return a script of the projection with nothing in it that lets a copy die."""
    return "\n".join(line for line in script.splitlines() if _EXPIRES not in line)


def _from_the_write(*, world_id: str, **words: Any) -> bool:
    """Count the copy's lease from now, where the rows were read before."""
    lease_ms = World.objects.values_list("lease_ms", flat=True).get(id=world_id)
    words["deadline_ms"] = redis_projection.redis_now_ms() + lease_ms
    return _replace_copy(world_id=world_id, **words)


def _confirmed_is_drained(*, world_id: str, **words: Any) -> bool:
    """Take every drain for over once Redis has taken the copy."""
    done = _replace_copy(world_id=world_id, **words)
    if done:
        draining = ApplyRun.objects.filter(world_id=world_id, state=RunState.DRAINING)
        draining.update(drain_until=database_now() - timedelta(seconds=1))
    return done


def _any_answer(_offered: object, _held: object) -> bool:
    """Take whatever is answered, also what is older than what is held."""
    return True


def _entry_by_entry(
    *,
    world_id: str,
    position: Position,
    deadline_ms: int,
    meta: Mapping[str, object],
    entries: Mapping[str, Mapping[str, object]],
    **_words: object,
) -> bool:
    """Write the position, then one entry after the other."""
    key, about = redis_projection.active_key(world_id), redis_projection.meta_key(world_id)
    texts = {field: json.dumps(value, sort_keys=True) for field, value in entries.items()}
    mark = redis_projection.mark_of(position, meta=meta, entries=entries)
    claim: dict[Any, Any] = {
        "incarnation": str(position.incarnation),
        "sequence": str(position.sequence),
        "hold_sequence": str(position.hold_sequence),
        "meta": mark.meta,
        "digest": mark.digest,
    }
    client = redis_client()
    client.hset(about, mapping=claim)
    for field, text in texts.items():
        client.hset(key, field, text)
        reach("project.after_lua")
    for left in client.hkeys(key):
        if left not in texts:
            client.hdel(key, left)
    for name in (key, about):
        client.pexpireat(name, deadline_ms)
    return True


def _table(name: str) -> tuple[Patch, ...]:
    """Return a patch of the table, also where the services have taken its functions by name."""
    patches = TABLE_PATCHES[name]
    return (*patches, *(Patch(advance, one.name, one.value) for one in patches if hasattr(advance, one.name)))


MUTANTS: Final[Mapping[str, tuple[Patch, ...]]] = {
    "B1": (Patch(advance, "_do", _lifting_all),),
    "B2": _table("B2"),
    "B3": (Patch(runs, "busy_run", _nobody),),
    "B4": tuple(
        Patch(redis_projection, name, _without_expiry(getattr(redis_projection, name)))
        for name in ("_REPLACE", "_CONFIRM")
    ),
    "B5": (Patch(projection, "replace_copy", _from_the_write),),
    "B6": (Patch(projection, "replace_copy", _confirmed_is_drained), *TABLE_PATCHES["B15"]),
    "B7": (Patch(permission, "supersedes", _any_answer),),
    "B8": (Patch(advance, "commit_set", _under_the_old_number),),
    "B9": (Patch(projection, "replace_copy", _entry_by_entry),),
    "B10": _table("B10"),
    "B11": _table("B11"),
    "B12": (Patch(permission, "read_deadline", _late),),
    "B13": _table("B13"),
    "B14": (Patch(tick, "reconcile_copies", _nothing),),
}
