"""Apply runs between their rows and the values that the state machine works on."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache

from django.conf import settings

from qmtl_worlds.contracts.activation import GateLevel
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.states import RunKind, RunState
from qmtl_worlds.lifecycle.holds import Hold, HoldKind
from qmtl_worlds.lifecycle.run import RunView, Timings
from qmtl_worlds.policy.compiler import CompiledPolicy, compile_policy
from worlds.models import ApplyRun, GateHold, PolicyVersion, World
from worlds.models.world import LEASE_MS_RANGE
from worlds.stores.apply_rows import leases_before

QMTL_LEASE_MS = 15_000
"""QMTL's clients know no lease; they ask again every ten seconds, and hear what they ask two seconds later at most."""
RUN_COLUMNS = ("state", "epoch", "attempts", "lease_until", "drain_until", "deadline_at")


def compiled(policy: PolicyVersion) -> CompiledPolicy:
    """Return the compiled form of a stored version; it had no fault when it was stored."""
    return _compiled(policy.text, policy.world_id)


def view_of(run: ApplyRun) -> RunView:
    """Return the run as the state machine sees it."""
    position = compiled(run.policy).document.position_policy
    return RunView(
        run_id=run.run_id,
        kind=RunKind(run.kind),
        state=RunState(run.state),
        plan=run.transition_plan,
        epoch=run.epoch,
        attempts=run.attempts,
        drain_until=run.drain_until,
        deadline_at=run.deadline_at,
        worker_lease_until=run.lease_until,
        flat_on_promote=position.on_promote == "flat_then_enable",
        flat_on_demote=position.on_demote == "disable_then_flat",
    )


def write_view(*, run: ApplyRun, view: RunView) -> None:
    """Put what the state machine may change back into the row; the caller saves it."""
    run.state = view.state.value
    run.epoch = view.epoch
    run.attempts = view.attempts
    run.lease_until = view.worker_lease_until
    run.drain_until = view.drain_until
    run.deadline_at = view.deadline_at


def timings_of(world: World, *, now: datetime) -> Timings:
    """Return the world's lengths of time; ``QW_TIME_SCALE`` divides the fixed ones in tests.

    A lease that was shortened a moment ago counts as it was: permissions are out that were given under it (I1, R5). In
    a compatibility world drains wait for clients without a lease.
    """
    scale = settings.TIME_SCALE
    return Timings(
        lease_seconds=_longest_lease_ms(world, now) / 1000,
        slack_seconds=0.25 / scale,
        run_deadline_seconds=300.0 / scale,
        worker_lease_seconds=3.0 / scale,
    )


def hold_of(row: GateHold) -> Hold:
    """Return a stored hold as the state machine sees it."""
    key = InstanceKey.from_text(row.scope) if row.scope else None
    return Hold(HoldKind(row.kind), row.owner, GateLevel(row.level), key)


def _longest_lease_ms(world: World, now: datetime) -> int:
    before = leases_before(world.id, since=now - 2 * timedelta(milliseconds=LEASE_MS_RANGE[1]))
    return max(world.lease_ms, *before, QMTL_LEASE_MS // settings.TIME_SCALE if world.compat else 0)


@lru_cache(maxsize=64)
def _compiled(text: str, world_id: str) -> CompiledPolicy:
    return compile_policy(text, world_id=world_id)
