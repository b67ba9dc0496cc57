"""Known ways to get it wrong, put into a nursery so that real processes do it: the harness must notice."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from formal.patches import TABLE_PATCHES, Patch
from qmtl_worlds.contracts.states import RunState
from qmtl_worlds.lifecycle.run import Effect, RemoveHold
from qmtl_worlds.sdk import permission
from worlds.models import ApplyRun, GateHold, World
from worlds.services import active_sets, advance
from worlds.work import tick

_do: Final = advance._do  # noqa: SLF001 - the mutant stands in its place
_commit_set: Final = active_sets.commit_set


def mutate(names: Iterable[str]) -> None:
    """Make the product wrong in this process, in each of the ways named; for good."""
    for name in names:
        for patch in MUTANTS[name]:
            getattr(patch.place, patch.name)  # what is not there cannot be made wrong
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


def _nothing(**_words: object) -> bool:
    """Compare no copy with the rows, and call that well."""
    return True


def _table(name: str) -> tuple[Patch, ...]:
    """Return a patch of the table, also where the services have taken its functions by name."""
    patches = TABLE_PATCHES[name]
    return (*patches, *(Patch(advance, one.name, one.value) for one in patches if hasattr(advance, one.name)))


MUTANTS: Final[Mapping[str, tuple[Patch, ...]]] = {
    "B1": (Patch(advance, "_do", _lifting_all),),
    "B2": _table("B2"),
    "B8": (Patch(advance, "commit_set", _under_the_old_number),),
    "B10": _table("B10"),
    "B11": _table("B11"),
    "B12": (Patch(permission, "read_deadline", _late),),
    "B13": _table("B13"),
    "B14": (Patch(tick, "reconcile_copies", _nothing),),
}
