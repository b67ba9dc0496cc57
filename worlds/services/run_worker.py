"""Who carries an apply run forward in one call, and what it need not read again from one step to the next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from qmtl_worlds.contracts.errors import RunNotFoundError
from qmtl_worlds.contracts.plans import EMPTY_SET, ActiveSet
from qmtl_worlds.lifecycle.run import RunView, Timings, Transition, inserted_set
from worlds.models import ApplyRun, World
from worlds.selectors import content_of
from worlds.services.run_rows import RUN_COLUMNS, timings_of
from worlds.stores.apply_rows import read_run_row
from worlds.stores.clock import statement_time

MOVED_COLUMNS: Final = (*RUN_COLUMNS, "state_changed_at", "state_reason", "result", "target_generation")

_RUNS: Final = ApplyRun.objects.select_related("policy", "evaluation").defer(
    "evaluation__inputs_json", "evaluation__envelope"
)


@dataclass(slots=True)
class Worker:
    """Who carries a run forward in one call: under which epoch, None before its claim, and what it did.

    ``run`` is the row as the last step left it; what never changes of it is read once. ``timings`` are the world's at
    ``sequence``, ``current`` is its set at ``generation``.
    """

    epoch: int | None = None
    has_changed_gates: bool = False
    run: ApplyRun | None = None
    timings: Timings | None = None
    sequence: int = 0
    current: ActiveSet = EMPTY_SET
    generation: int = 0

    def read(self, world: World, run_id: str) -> tuple[ApplyRun, datetime]:
        """Return the run as it is under the world's lock, and the time."""
        self.run, now = read_run(world, run_id) if self.run is None else _read_again(world, self.run)
        return self.run, now

    def timings_of(self, world: World, now: datetime) -> Timings:
        """Return the world's lengths of time; they change with its sequence only, and a drain's may only grow."""
        if self.timings is None or self.sequence != world.sequence:
            self.timings = timings_of(world, now=now)
        return self.timings

    def set_of(self, world: World) -> ActiveSet:
        """Return the world's set; one that is committed never changes."""
        if self.generation != world.generation:
            self.current, self.generation = content_of(world.id, world.generation), world.generation
        return self.current

    def keep(self, after: RunView, transition: Transition, world: World) -> None:
        """Remember what a step wrote."""
        self.epoch, self.sequence = after.epoch, world.sequence
        self.has_changed_gates |= transition.visible
        if (content := inserted_set(transition.effects)) is not None:
            self.current, self.generation = content, world.generation


def read_run(world: World, run_id: str) -> tuple[ApplyRun, datetime]:
    """Return a run with what it rests on, read under the world's lock, and the time.

    Raises:
        RunNotFoundError: the world has no such run.
    """
    try:
        run = _RUNS.annotate(read_at=statement_time()).get(world=world, run_id=run_id)
    except ApplyRun.DoesNotExist as error:
        raise RunNotFoundError(world.id, run_id) from error
    run.world = world
    return run, run.read_at


def _read_again(world: World, run: ApplyRun) -> tuple[ApplyRun, datetime]:
    """Return the run as it is now, and the time; under the epoch and round that it was left in nobody else moved it."""
    row = read_run_row(run.pk)
    if (row.state, row.epoch, row.approval_round) != (run.state, run.epoch, run.approval_round):
        return read_run(world, run.run_id)
    run.attempts, run.world = row.attempts, world
    return run, row.now
