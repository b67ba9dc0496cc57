"""What tests of the control plane do again and again: evaluate, request, approve, let time pass."""

from __future__ import annotations

import math
from datetime import timedelta

from django.contrib.auth.models import User

from audit.models import AuditEvent, AuditRun, RunKind
from audit.verification import verify_stored_chain
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.states import RunState
from tests.worlds.factories import LAST_CLOSE, act_of, add_day, add_strategy, shell
from worlds.models import ActivationSet, ApplyRun, World
from worlds.services.advance import advance
from worlds.services.apply import ApplyRequest, request_apply
from worlds.services.approvals import approve
from worlds.services.authority import act_of_schedule
from worlds.services.drain_watch import FIRST_SEEN
from worlds.services.evaluations import EvaluationRequest, request_evaluation
from worlds.stores.clock import database_now
from worlds.work.evaluate import evaluate_world

GOOD = InstanceKey("good", Side.LONG)
BETTER = InstanceKey("better", Side.LONG)
BEST = InstanceKey("best", Side.LONG)
BAD = InstanceKey("bad", Side.LONG)


def evaluate(world: World, run_id: str = "eval-1", *, day: int = 0, kind: RunKind = RunKind.MANUAL) -> AuditRun:
    """Evaluate as of the close ``day`` days after the last one of the factories."""
    act = act_of_schedule(reason="test") if kind is RunKind.SCHEDULED else shell()
    request = EvaluationRequest(run_id, kind, as_of=LAST_CLOSE + timedelta(days=day))
    request_evaluation(world_id=world.id, request=request, act=act)
    return evaluate_world(world_id=world.id, run_id=run_id, act=act)


def start(world: World, operator: User, run_id: str = "run-1", evaluation: str = "eval-1") -> ApplyRun:
    """Request the evaluation's plan."""
    return request_apply(world_id=world.id, request=ApplyRequest(run_id, evaluation), act=act_of(operator)).run


def approve_now(world: World, run: ApplyRun, approver: User) -> ApplyRun:
    """Approve with the password just entered."""
    return approve(
        world_id=world.id,
        run_id=run.run_id,
        plan_hash=run.plan_hash,
        reauthenticated_at=database_now(),
        act=act_of(approver),
    )


def go_on(world: World, run_id: str, *, act: Act | None = None) -> ApplyRun:
    """Advance the run as the tick does."""
    return advance(world_id=world.id, run_id=run_id, act=act or shell())


def pass_drain(run: ApplyRun) -> None:
    """Let the drain lie in the past, and this process have seen all of it: nobody waits."""
    over = database_now() - timedelta(minutes=1)
    ApplyRun.objects.filter(pk=run.pk, state=RunState.DRAINING).update(drain_until=over)
    FIRST_SEEN[run.world_id, run.run_id] = (over, -math.inf)


def kill_worker(run: ApplyRun) -> None:
    """Let the lease of the run's worker have ended: it died."""
    ApplyRun.objects.filter(pk=run.pk).update(lease_until=database_now() - timedelta(minutes=1))


def finish(world: World, run_id: str) -> ApplyRun:
    """Take a run to its end, through its drain."""
    run = go_on(world, run_id)
    if run.state == RunState.DRAINING:
        pass_drain(run)
        run = go_on(world, run_id)
    return run


def first_apply(world: World, alice: User, bob: User) -> ApplyRun:
    """Let ``good`` and ``better`` trade: generation 1."""
    evaluate(world)
    approve_now(world, start(world, alice), bob)
    return finish(world, "run-1")


def wait_with_increase(world: World, alice: User, bob: User) -> ApplyRun:
    """Stand, after the first apply, before one that lets ``best`` in for ``good``: requested, not approved."""
    first_apply(world, alice, bob)
    add_best(world)
    evaluate(world, "eval-2", day=1)
    return start(world, alice, "run-2", "eval-2")


def add_best(world: World) -> None:
    """Bind a strategy that outranks ``good``, and let a day pass for all."""
    add_strategy(world, "best", quality=9)
    add_day(world, 1, {"good": 0.001, "better": 0.008, "best": 0.01, "bad": -0.01})


def lose(world: World, strategy_id: str, *, day: int = 1) -> None:
    """Let one strategy lose half of its capital on a day, so that it fails its gate; the others go on."""
    names = ("good", "better", "bad")
    add_day(world, day, {name: -0.5 if name == strategy_id else 0.002 for name in names})


def drained(world: World, run: ApplyRun, approver: User) -> ApplyRun:
    """Approve and advance to the drain, whose time has passed."""
    approve_now(world, run, approver)
    run = go_on(world, run.run_id)
    pass_drain(run)
    return run


def states_of(run: ApplyRun) -> tuple[str, str]:
    """Return state and reason as stored."""
    run.refresh_from_db()
    return run.state, run.state_reason


def kinds_of(run: ApplyRun) -> list[str]:
    """Return what the audit tells of a run, in order."""
    return list(AuditEvent.objects.filter(run_id=run.run_id).order_by("seq").values_list("kind", flat=True))


def members_now(world: World) -> set[str]:
    """Return the strategies of the present set; ``world`` is read again."""
    world.refresh_from_db()
    current = ActivationSet.objects.get(world=world, generation=world.generation)
    return set(current.entries.values_list("instance__strategy_id", flat=True))


def chain_is_whole(world: World) -> bool:
    """Tell whether the world's audit has no gap and no altered row."""
    return verify_stored_chain(world.id, progress=lambda _count: None).finding is None
