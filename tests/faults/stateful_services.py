"""The real side: the same acts as the oracle's, done by the product's services on a database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final
from unittest import mock

from django.db import transaction

from audit.models import AuditRun, AuditRunState, RunKind
from audit.runs import RunOutcome, finish_run
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.digests import canonical_json, digest
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.lifecycle.apply import Event
from tests.faults.stateful_clock import START, Clock
from tests.faults.stateful_closing_services import ClosingServices
from tests.faults.stateful_ground import ROLES, Ground, binding_of, push_bar
from tests.faults.stateful_oracle import APPROVERS
from tests.faults.stateful_rows import KEYS, WORLD, Decision
from tests.worlds.factories import act_of, shell
from worlds.models import ApplyRun, Membership
from worlds.selectors import get_world, policy_in_force
from worlds.services import advance as advancing
from worlds.services import alerts, approvals, dispatch, holds
from worlds.services.advance import MAX_STEPS, advance
from worlds.services.apply import ApplyRequest, carry_out_scheduled, request_apply
from worlds.services.authority import act_of_schedule, act_of_system
from worlds.services.binding import bind, choose_roster, unbind
from worlds.services.changes import announce, locked_world
from worlds.services.drain_watch import FIRST_SEEN
from worlds.services.evaluations import EvaluationRequest, request_evaluation
from worlds.services.members import grant_role, revoke_role
from worlds.services.pins import unpin
from worlds.services.policies import approve_policy, request_policy
from worlds.services.registry import update_world
from worlds.services.rollback import RollbackRequest, request_rollback
from worlds.services.run_worker import Worker
from worlds.stores.clock import database_now
from worlds.work import tick as ticking
from worlds.work.tick import tick

_step = vars(advancing)["_step"]
_MUTED: Final = {"_tell": lambda alert, *_, **__: alert.world.sequence, "_record": lambda *_: None}
"""Alerts are raised, but told to nobody: what deserves one is not what is compared here.

The circuit goes by the equity that it is sent alone; what bars imply is for tests of their own.
"""


def _raised_apart(**alert: Any) -> None:
    alerts.raise_alert(**alert)


class WorkerDiedError(Exception):
    """The process was killed inside a transaction."""


class Services(ClosingServices):
    """Every act of the oracle, by the verb that the product has for it."""

    def __init__(self, ground: Ground, clock: Clock) -> None:
        self._people = ground.people
        self._clock = clock
        self.bells: list[str] = []

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Keep the doorbells that are rung, as a broker would; they may be answered late, twice or never."""
        with contextlib.ExitStack() as ears:
            ears.enter_context(mock.patch.object(dispatch, "ring", self._hear))
            ears.enter_context(mock.patch.object(ticking, "watch_circuits"))
            ears.enter_context(mock.patch.object(alerts, "_log"))
            for name, silence in _MUTED.items():
                ears.enter_context(mock.patch.object(alerts, name, silence))
            ears.enter_context(mock.patch.object(advancing, "new_alert", _raised_apart))
            yield

    def advance(self, run_id: str, *, steps: int = MAX_STEPS, breaks: bool = False) -> str:
        with contextlib.ExitStack() as faults:
            faults.enter_context(mock.patch.object(advancing, "MAX_STEPS", steps))
            if breaks:
                faults.enter_context(mock.patch.object(advancing, "record_all", side_effect=WorkerDiedError))
            advance(world_id=WORLD, run_id=run_id, act=act_of_system(reason="test"))
        return "ok"

    def late_step(self, run_id: str, *, behind: int) -> str:
        epoch = ApplyRun.objects.get(world_id=WORLD, run_id=run_id).epoch
        _step(WORLD, run_id, Worker(epoch - behind), act_of_system(reason="test"))
        return "ok"

    def restart(self) -> str:
        FIRST_SEEN.clear()
        return "ok"

    def tick(self) -> str:
        tick()
        return "ok"

    @transaction.atomic
    def evaluate(self, run_id: str, decision: Decision, *, scheduled: bool, lag: int) -> str:
        """Record what an evaluation decided, as the worker does once it has computed it."""
        act = act_of_schedule(reason="test") if scheduled else shell()
        kind = RunKind.SCHEDULED if scheduled else RunKind.MANUAL
        as_of = self._clock.now - timedelta(seconds=lag)
        started = request_evaluation(world_id=WORLD, request=EvaluationRequest(run_id, kind, as_of=as_of), act=act)
        world = locked_world(WORLD)
        finished = finish_run(run=started, outcome=_outcome(decision), act=act)
        announce(world, kind="evaluation_run_updated", payload={"run_id": run_id}, now=act.now)
        if scheduled:
            carry_out_scheduled(world=world, evaluation=AuditRun.objects.get(pk=finished.pk), act=act)
        return "ok"

    def request(self, run_id: str, evaluation: str, actor: str, by_hand: tuple[tuple[InstanceKey, ...], ...]) -> str:
        activate, deactivate = by_hand or (None, None)
        request = ApplyRequest(run_id, evaluation, activate, deactivate)
        asked = request_apply(world_id=WORLD, request=request, act=self._act(actor))
        return "replayed" if asked.replayed else "ok"

    def roll_back(self, run_id: str, generation: int, actor: str) -> str:
        asked = request_rollback(world_id=WORLD, request=RollbackRequest(run_id, generation), act=self._act(actor))
        return "replayed" if asked.replayed else "ok"

    def unpin(self, actor: str) -> str:
        unpin(world_id=WORLD, act=self._act(actor))
        return "ok"

    def approve(self, run_id: str, actor: str, *, stale: bool) -> str:
        shown = ApplyRun.objects.filter(world_id=WORLD, run_id=run_id).values_list("plan_hash", flat=True).first()
        approvals.approve(
            world_id=WORLD,
            run_id=run_id,
            plan_hash=digest("another") if stale else shown or "",
            reauthenticated_at=database_now(),
            act=self._act(actor),
        )
        return "ok"

    def decide(self, run_id: str, event: Event, actor: str) -> str:
        verbs = {Event.REJECT: approvals.reject, Event.ABORT: approvals.abort, Event.RESUME: approvals.resume}
        verbs[event](world_id=WORLD, run_id=run_id, act=self._act(actor))
        return "ok"

    def freeze(self, actor: str) -> str:
        holds.freeze(world_id=WORLD, act=self._act(actor))
        return "ok"

    def unfreeze(self, actor: str) -> str:
        holds.unfreeze(world_id=WORLD, act=self._act(actor))
        return "ok"

    def pause(self, actor: str, *, paused: bool) -> str:
        (holds.pause if paused else holds.resume)(world_id=WORLD, act=self._act(actor))
        return "ok"

    def set_lease(self, actor: str, lease_ms: int) -> str:
        update_world(world_id=WORLD, changes={"lease_ms": lease_ms}, act=self._act(actor))
        return "ok"

    @transaction.atomic
    def put_policy(self, version: int, approver: str) -> str:
        change = request_policy(world_id=WORLD, version=version, act=self._act("alice"))
        act = self._act(approver)
        approve_policy(change_id=change.pk, reauthenticated_at=act.now, act=act)
        return "ok"

    def set_right(self, name: str, *, entitled: bool) -> str:
        user = self._people[name]
        for role in ROLES[name]:
            given = Membership.objects.filter(user=user, role=role).first()
            if entitled and given is None:
                grant_role(user=user, role=role, world=None, act=shell())
            if not entitled and given is not None and role != "viewer":
                revoke_role(membership=given, act=shell())
        assert name in APPROVERS
        return "ok"

    def push(self, key: InstanceKey) -> str:
        push_bar(key)
        return "ok"

    def bind(self, key: InstanceKey, params: int) -> str:
        bind(world_id=WORLD, bindings=[binding_of(key, params)], act=shell())
        return "ok"

    def unbind(self, key: InstanceKey) -> str:
        unbind(world_id=WORLD, strategy_id=key.strategy_id, side=key.side, act=shell())
        return "ok"

    def choose(self, names: tuple[str, ...]) -> str:
        choose_roster(world_id=WORLD, strategies=names, act=shell())
        return "ok"

    def _act(self, actor: str) -> Act:
        return act_of(self._people[actor])

    def _hear(self, *, task: str, queue: str, **arguments: object) -> None:
        if (task, queue) == (dispatch.ADVANCE, "control"):
            self.bells.append(str(arguments["run_id"]))


def _outcome(decision: Decision) -> RunOutcome:
    world = get_world(WORLD)
    policy = policy_in_force(world)
    told: dict[str, Any] = {
        "policy_checksum": policy.checksum,
        "weights": decision.after.to_json(),
        "reduced": decision.reduced.to_json(),
        "reasons": {key.text: reason.value for key, reason in decision.reasons},
        "ranks": {key.text: place for place, key in enumerate(decision.ranks, 1)},
        "has_plan": True,
    }
    return RunOutcome(
        state=AuditRunState.OK if decision.ok else AuditRunState.INCONCLUSIVE,
        decision=canonical_json(told),
        inputs={"generation": world.generation, "exposures": {}},
        inputs_digest=digest([world.generation, START.isoformat()]),
        policy_version=policy.version,
        policy_checksum=policy.checksum,
        instance_count=len(KEYS),
    )
