"""Known ways to get it wrong, put into a nursery so that real processes do it: the harness must notice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from formal.patches import TABLE_PATCHES, Patch
from qmtl_worlds.contracts.states import RunState
from qmtl_worlds.lifecycle.run import Effect, RemoveHold
from qmtl_worlds.sdk import permission
from worlds.models import ApplyRun, GateHold, World
from worlds.services import active_sets, advance
from worlds.stores import redis_projection
from worlds.work import tick

_do: Final = advance._do  # noqa: SLF001 - the mutant stands in its place
_commit_set: Final = active_sets.commit_set
LONG: Final = "4102444800000"
"""A deadline in the next century."""


def mutate(names: Iterable[str]) -> None:
    """Make the product wrong in this process, in each of the ways named; for good."""
    for name in names:
        for patch in MUTANTS[name]:
            setattr(patch.place, patch.name, patch.value)


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


def _nothing(*_args: object, **_words: object) -> None:
    return None


def _table(name: str) -> tuple[Patch, ...]:
    """Return a patch of the table, also where the services have taken its functions by name."""
    patches = TABLE_PATCHES[name]
    return (*patches, *(Patch(advance, one.name, one.value) for one in patches if hasattr(advance, one.name)))


def _script(change: Callable[[str], str]) -> tuple[Patch, ...]:
    """Return a patch of the one Lua call that writes the copy in Redis."""
    name = "_REPLACE"
    return (Patch(redis_projection, name, change(getattr(redis_projection, name, ""))),)


MUTANTS: Final[Mapping[str, tuple[Patch, ...]]] = {
    "B1": (Patch(advance, "_do", _lifting_all),),
    "B2": _table("B2"),
    "B4": _script(lambda text: text.replace("PEXPIREAT', KEYS[1], ARGV[1]", f"PEXPIREAT', KEYS[1], {LONG}")),
    "B8": (Patch(advance, "commit_set", _under_the_old_number),),
    "B10": _table("B10"),
    "B11": _table("B11"),
    "B12": (Patch(permission, "read_deadline", _late),),
    "B13": _table("B13"),
    "B14": (Patch(tick, "_project_all", partial(_nothing)),),
}
