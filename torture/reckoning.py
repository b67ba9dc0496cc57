"""What must be true once a storm is over: nothing lost, nothing twice, no gap, and Redis equal to the rows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from django.db.models import Count, Max, Min

from audit.verification import verify_stored_chain
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.contracts.states import TERMINAL_STATES
from torture.stage import Stage
from worlds.models import ActivationSet, ApplyRun, GateHold, World
from worlds.selectors import position_of
from worlds.stores.redis_projection import read_copy

REPAIR_SECONDS: Final = 5.0


def reckon(stage: Stage, worlds: Sequence[str]) -> None:
    """Note everything that should be and is not."""
    for world_id in worlds:
        _check_requests(stage, world_id)
        _check_sets(stage, world_id)
        _check_order(stage, world_id)
        _check_rest(stage, world_id)
        _check_copy(stage, world_id)


def _check_requests(stage: Stage, world_id: str) -> None:
    stored = dict(ApplyRun.objects.filter(world_id=world_id).values_list("run_id", "request_digest"))
    for acked_world, run_id, digest in stage.acked:
        if acked_world == world_id and stored.get(run_id) != digest:
            stage.tally.problem("lost", "an acknowledged request is gone", world=world_id, run=run_id)


def _check_sets(stage: Stage, world_id: str) -> None:
    """One set a run, and one more where its switch was undone; generations without gap."""
    made = ActivationSet.objects.filter(world_id=world_id)
    most = Counter(dict.fromkeys(made.values_list("run__run_id", flat=True), 1))
    undone = ApplyRun.objects.filter(world_id=world_id, state="rolled_back").values_list("run_id", flat=True)
    most.update(undone)
    for run_id, sets in made.values_list("run__run_id").annotate(sets=Count("id")):
        if sets > most[run_id]:
            stage.tally.problem("duplicated", "a run switched twice", world=world_id, run=run_id, sets=sets)
    numbers = list(made.order_by("generation").values_list("generation", flat=True))
    if numbers != list(range(1, len(numbers) + 1)):
        stage.tally.problem("violation", "generations have a gap", world=world_id, numbers=numbers)


def _check_order(stage: Stage, world_id: str) -> None:
    """An outbox row for each sequence, and an audit chain without a gap."""
    gap = gap_in_outbox(world_id)
    if gap is not None:
        stage.tally.problem("violation", "the outbox has a gap", world=world_id, **gap)
    finding = verify_stored_chain(world_id, progress=lambda _count: None).finding
    if finding is not None:
        stage.tally.problem("violation", "the audit chain is broken", world=world_id, finding=finding)


def gap_in_outbox(world_id: str) -> Mapping[str, object] | None:
    """Return what does not go together of the world's sequence and the rows that tell of it, or None.

    One statement, since the tick goes on telling: alerts come and go in a world at rest as well.
    """
    told = (
        World.objects.filter(id=world_id)
        .values("sequence")
        .annotate(first=Min("outbox__sequence"), last=Max("outbox__sequence"), rows=Count("outbox"))
    )
    found = told.get()
    whole = {"sequence": found["sequence"], "first": 1, "last": found["sequence"], "rows": found["sequence"]}
    return None if found == whole else found


def _check_rest(stage: Stage, world_id: str) -> None:
    left = ApplyRun.objects.filter(world_id=world_id).exclude(state__in=TERMINAL_STATES)
    holds = GateHold.objects.filter(world_id=world_id)
    if left.exists() or holds.exists():
        told = {"runs": list(left.values_list("run_id", "state")), "holds": [str(hold) for hold in holds]}
        stage.tally.problem("stuck", "a world did not come to rest", world=world_id, **told)


def _check_copy(stage: Stage, world_id: str) -> None:
    """After the last fault Redis equals the rows within 5 s (I26)."""
    until = time.monotonic() + REPAIR_SECONDS
    while (copy := read_copy(world_id)) is None or copy.position != _position(world_id):
        if time.monotonic() > until:
            stage.tally.problem(
                "violation", "Redis was not repaired", world=world_id, rows=_position(world_id), copy=copy
            )
            return
        time.sleep(0.1)


def _position(world_id: str) -> Position:
    return position_of(World.objects.get(id=world_id))
