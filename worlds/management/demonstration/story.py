"""What happens in the demonstration: history passes week by week, and each decision is carried out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final, TypeVar

from django.conf import settings

from audit.models import AuditRun, AuditRunState
from qmtl_worlds.contracts.ids import apply_run_id
from qmtl_worlds.contracts.states import TERMINAL_STATES, RunState
from qmtl_worlds.lifecycle.calendar import Calendar, Session
from worlds.management.demonstration.cast import Cast
from worlds.models import ApplyRun, World
from worlds.services.approvals import approve
from worlds.services.authority import act_of_schedule
from worlds.services.policies import approve_policy, request_policy, store_policy
from worlds.services.registry import NewWorld, create_world
from worlds.services.replay import step_clock
from worlds.services.scheduling import claim_due_slots
from worlds.stores.clock import database_now

WORLD_ID: Final = "us_equity_rules"
FIRST_DAY: Final = date(2007, 10, 1)
EVALUATIONS: Final = 60
SESSIONS_A_STEP: Final = 5
AFTER_CLOSE: Final = timedelta(minutes=3)
LEASE_MS: Final = 1_000
PATIENCE_SECONDS: Final = 120.0

Found = TypeVar("Found")


class DemonstrationError(RuntimeError):
    """Something did not happen in time; the logs say why."""


@dataclass(frozen=True, slots=True)
class Week:
    """One step of the story: its sessions, the evaluation after the last, and the apply run that it led to."""

    number: int
    sessions: tuple[date, ...]
    evaluation: AuditRun
    run: ApplyRun | None

    @property
    def day(self) -> date:
        """Return the session after which the world was evaluated."""
        return self.sessions[-1]


def found_world(*, cast: Cast) -> World:
    """Let alice make the world and write its policy, and bob put it in force."""
    alice = cast.act("alice", "demo")
    new = NewWorld(
        WORLD_ID, name="US equity rules", owner="demo", mode=World.Mode.REPLAY, lease_ms=LEASE_MS, description=_ABOUT
    )
    create_world(new=new, act=alice)
    text = (Path(settings.BASE_DIR) / "config" / "worlds" / f"{WORLD_ID}.yml").read_text(encoding="utf-8")
    policy = store_policy(world_id=WORLD_ID, text=text, act=alice)
    change = request_policy(world_id=WORLD_ID, version=policy.version, act=alice)
    approve_policy(change_id=change.pk, reauthenticated_at=database_now(), act=cast.act("bob", "reviewed"))
    return World.objects.get(id=WORLD_ID)


def weeks(*, cast: Cast, count: int = EVALUATIONS) -> Iterator[Week]:
    """Step the clock from week to week; the schedule evaluates, two people approve, the tick carries out."""
    calendar = Calendar.load("XNYS")
    for number, sessions in enumerate(_steps(calendar, count), start=1):
        step_clock(world_id=WORLD_ID, to=sessions[-1].closes_at + AFTER_CLOSE, act=cast.act("alice", "replay"))
        claim_due_slots(act=act_of_schedule(reason="schedule"))
        evaluation = _evaluated(number)
        run = _carried_out(evaluation, cast)
        yield Week(number, tuple(session.day for session in sessions), evaluation, run)


def _steps(calendar: Calendar, count: int) -> Iterator[tuple[Session, ...]]:
    sessions = calendar.sessions_between(FIRST_DAY, FIRST_DAY + timedelta(days=count * SESSIONS_A_STEP * 2))
    for number in range(count):
        yield sessions[number * SESSIONS_A_STEP : (number + 1) * SESSIONS_A_STEP]


def _evaluated(number: int) -> AuditRun:
    """Wait until the schedule's newest evaluation has ended; there are as many as steps."""

    def find() -> AuditRun | None:
        runs = AuditRun.objects.filter(world_id=WORLD_ID).exclude(state=AuditRunState.RUNNING)
        return runs.order_by("-id").first() if runs.count() >= number else None

    run = _wait_for(find, f"evaluation {number}")
    if run.state == AuditRunState.ERROR:
        raise DemonstrationError(f"Evaluation {run.run_id} failed: {run.error}")
    return run


def _carried_out(evaluation: AuditRun, cast: Cast) -> ApplyRun | None:
    """Let both approvers look at a waiting plan, and wait until every run of the evaluation has ended."""
    increase = ApplyRun.objects.filter(world_id=WORLD_ID, run_id=apply_run_id(evaluation.run_id)).first()
    if increase is not None and increase.state == RunState.REQUESTED:
        for name in ("bob", "carol"):
            approve(
                world_id=WORLD_ID,
                run_id=increase.run_id,
                plan_hash=increase.plan_hash,
                reauthenticated_at=database_now(),
                act=cast.act(name, "looks right"),
            )
    _wait_for(lambda: None if _open_runs() else True, f"the runs of {evaluation.run_id}")
    if increase is not None:
        increase.refresh_from_db()
    return increase


def _open_runs() -> bool:
    return ApplyRun.objects.filter(world_id=WORLD_ID).exclude(state__in=TERMINAL_STATES).exists()


def _wait_for(find: Callable[[], Found | None], what: str) -> Found:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if (found := find()) is not None:
            return found
        time.sleep(0.02)
    raise DemonstrationError(f"Nothing came of {what} within {PATIENCE_SECONDS:.0f} s; the logs say why.")


_ABOUT: Final = "Rule strategies on five US stocks, 2000-2013, replayed week by week."
