"""The oracle's requests: evaluations, applies and rollbacks, by people and by the schedule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.plans import ActiveSet, ChangeReason, TransitionPlan, active_set
from qmtl_worlds.contracts.states import RunKind, RunState
from qmtl_worlds.lifecycle.apply import Event, initial_state
from qmtl_worlds.lifecycle.approval import AutoFacts, AutoLimits, auto_refusal
from qmtl_worlds.lifecycle.budget import Exposures, violations
from qmtl_worlds.lifecycle.holds import HoldKind, barred, make_hold
from qmtl_worlds.lifecycle.plan import same_change, split
from qmtl_worlds.lifecycle.rollback import preview, rollback_plan
from qmtl_worlds.lifecycle.run import RunView
from tests.faults.stateful_rows import CAPS, POLICIES, WORLD, Decision, Evaluation, Refused, Run
from tests.faults.stateful_runs import SYSTEM, Runs

SCHEDULE: Final = "schedule"
SHELL: Final = "shell"
LIMITS: Final = AutoLimits(max_changes=3, max_gross_shift=0.5)


@dataclass(frozen=True, slots=True)
class Order:
    """Who asks for a plan, under which name, and what it goes by."""

    run_id: str
    actor: str
    request: tuple[object, ...]
    evaluation: str = ""
    rollback_to: int | None = None
    reduced: ActiveSet | None = None


class Requests(Runs):
    """What people and the schedule ask for."""

    def evaluate(self, run_id: str, decision: Decision, *, scheduled: bool, lag: int) -> str:
        """Record an evaluation of data that is ``lag`` seconds old; the schedule's is carried out at once."""
        rows, now = self.rows, self.clock.now
        with self.transaction():
            done = Evaluation(
                run_id, len(rows.evaluations), decision, now - timedelta(seconds=lag), now, rows.generation, rows.policy
            )
            rows.evaluations[run_id] = done
            self.record("evaluation.recorded", SCHEDULE if scheduled else SHELL, run_id)
            self.announce("evaluation_run_updated")
            if scheduled:
                self._carry_out_scheduled(done)
        return "ok"

    def request(self, run_id: str, evaluation: str, actor: str, by_hand: tuple[tuple[InstanceKey, ...], ...]) -> str:
        """Ask for an evaluation's plan, or for a part of it: (activate, deactivate)."""
        self.must(actor, "apply.request")
        asked = ("apply", run_id, evaluation, by_hand)
        if run_id in self.rows.runs:
            return self._again(run_id, asked)
        self._stopped_before(run_id, asked)
        done = self._applicable(evaluation)
        plan = self._plan(done)
        if by_hand:
            plan = self._by_hand(plan, *by_hand)
        reduced = None if by_hand else done.decision.reduced
        with self.transaction():
            started = self._start(Order(run_id, actor, asked, evaluation, reduced=reduced), plan, auto=False)
        return self._answer(started=started)

    def roll_back(self, run_id: str, generation: int, actor: str) -> str:
        """Ask to go back to an older generation, as far as it may still trade."""
        self.must(actor, "rollback.request")
        asked = ("rollback", run_id, generation)
        if run_id in self.rows.runs:
            return self._again(run_id, asked)
        self._stopped_before(run_id, asked)
        if generation >= self.rows.generation:
            raise Refused("InputInvalidError")
        current = self.rows.set_of(self.rows.generation)
        after = preview(
            self.rows.set_of(generation),
            current=current,
            barred=self._left_out(generation),
            caps=CAPS,
            exposures=Exposures(),
        ).content
        plan = rollback_plan(self._from_here(after))
        newest = self.rows.newest_ok()
        with self.transaction():
            self.record("rollback.requested", f"person:{actor}", run_id)
            order = Order(run_id, actor, asked, newest.run_id if newest else "", rollback_to=generation)
            started = self._start(order, plan, auto=False)
            if started or f"{run_id}:reduce" in self.rows.runs:
                self.rows.pin = generation
                self.announce("world_updated")
                self.record("rollback.pinned", f"person:{actor}")
        return self._answer(started=started)

    def unpin(self, actor: str) -> str:
        """Let increases start by themselves again."""
        self.must(actor, "gate.reopen")
        self.remove_pin(f"person:{actor}")
        return "ok"

    def remove_pin(self, actor: str) -> None:
        if self.rows.pin is not None:
            self.rows.pin = None
            self.announce("world_updated")
            self.record("rollback.unpinned", actor)

    def withdraw(self, keys: Iterable[InstanceKey]) -> None:
        """Close the gates of members that are not wanted any more, and drop them."""
        leaving = sorted(key for key in keys if key in self.rows.seats)
        for key in leaving:
            self.place(make_hold(HoldKind.WITHDRAWN, key.text, key=key), SHELL)
        self.drop(leaving, ChangeReason.WITHDRAWN, "withdraw", SHELL)

    def drop(self, keys: Iterable[InstanceKey], cause: ChangeReason, name: str, actor: str) -> None:
        """Start the run that takes members out which are held already."""
        leaving = sorted({key for key in keys if key in self.rows.seats})
        if not leaving:
            return
        weights = self.rows.set_of(self.rows.generation).weights
        left = active_set({key: weight for key, weight in weights.items() if key not in leaving})
        plan = replace(self._from_here(left), reasons=tuple((key, cause) for key in leaving))
        self.announce("activation_updated")
        order = Order(f"{name}:{self.rows.generation}.{self.sequence}", actor, (cause,))
        self._create(order, plan, RunKind.REDUCE, auto=True)

    def must(self, actor: str, permission: str) -> None:
        """Refuse who may not."""
        raise NotImplementedError

    @property
    def sequence(self) -> int:
        return len(self.rows.outbox)

    def _again(self, run_id: str, asked: tuple[object, ...]) -> str:
        if self.rows.runs[run_id].request != asked:
            raise Refused("RunIdReusedError")
        return "replayed"

    def _stopped_before(self, run_id: str, asked: tuple[object, ...]) -> None:
        """The same request met another increase before: what it takes away went, and the rest is still refused."""
        first = self.rows.runs.get(f"{run_id}:reduce")
        if first is not None and first.request == asked and self.rows.busy() is not None:
            raise Refused("WorldBusyError")

    def _answer(self, *, started: bool) -> str:
        """Refuse once all that goes ahead is committed."""
        if not started:
            raise Refused("WorldBusyError")
        return "ok"

    def _applicable(self, run_id: str) -> Evaluation:
        done, newest = self.rows.evaluations.get(run_id), self.rows.newest_ok()
        if done is None:
            raise Refused("RunNotFoundError")
        if newest is not None and done.as_of < newest.as_of:
            raise Refused("PlanStaleError")
        return done

    def _plan(self, done: Evaluation) -> TransitionPlan:
        if (done.generation, done.policy) != (self.rows.generation, self.rows.policy):
            raise Refused("PlanStaleError")
        return replace(self._from_here(done.decision.after), reasons=done.decision.reasons)

    def _from_here(self, after: ActiveSet) -> TransitionPlan:
        rows = self.rows
        return TransitionPlan(WORLD, rows.generation, self.checksums[rows.policy], rows.set_of(rows.generation), after)

    def _by_hand(
        self, plan: TransitionPlan, activate: tuple[InstanceKey, ...], deactivate: tuple[InstanceKey, ...]
    ) -> TransitionPlan:
        before, decided = plan.before.weights, plan.after.weights
        if (
            not set(activate) <= decided.keys()
            or set(activate) & set(deactivate)
            or not set(deactivate) <= before.keys()
        ):
            raise Refused("InputInvalidError")
        after = active_set(
            {**{key: weight for key, weight in before.items() if key not in deactivate}}
            | {key: decided[key] for key in activate}
        )
        if violations(after, CAPS, Exposures(), admitted=after.weights.keys() - before.keys()):
            raise Refused("InputInvalidError")
        left = sorted(before.keys() - after.weights.keys())
        return replace(self._from_here(after), reasons=tuple((key, ChangeReason.OPERATOR) for key in left))

    def _left_out(self, generation: int) -> dict[InstanceKey, str]:
        members = self.rows.sets[generation][1]
        gone = (members.keys() - self.still_bound(generation)) | (barred(self.rows.held) & members.keys())
        return {key: "gone" for key in members if key in gone or not self.fresh(key)}

    def _carry_out_scheduled(self, done: Evaluation) -> None:
        plan = self._plan(done)
        order = Order(
            f"apply:{done.run_id}",
            SCHEDULE,
            ("apply", f"apply:{done.run_id}", done.run_id, ()),
            done.run_id,
            reduced=done.decision.reduced,
        )
        parts = split(plan, reduced=done.decision.reduced)
        waiting = [run for run in self.rows.runs.values() if run.waits]
        if parts.increase is not None and self._may_ask(waiting, parts.increase):
            self._start(order, plan, auto=self._goes_ahead(parts.increase))
            return
        if parts.increase is None and done.decision.ok:
            self._supersede([run for run in waiting if run.rollback_to is None], SCHEDULE)
        if parts.reduce is not None:
            if parts.increase is None:
                self._create(order, parts.reduce, RunKind.REDUCE, auto=True)
            else:
                self._reduce(order, parts.reduce)

    def _may_ask(self, waiting: list[Run], increase: TransitionPlan) -> bool:
        if self.rows.paused or self.rows.pin is not None or self.rows.busy() is not None:
            return False
        return not any(run.rollback_to is not None or same_change(run.view.plan, increase) for run in waiting)

    def _goes_ahead(self, increase: TransitionPlan) -> bool:
        facts = AutoFacts(
            version_approved=True,
            first_live=False,
            pinned=self.rows.pin is not None,
            paused=self.rows.paused,
            by_schedule=True,
        )
        return POLICIES[self.rows.policy].auto and auto_refusal(increase, LIMITS, facts) is None

    def _start(self, order: Order, plan: TransitionPlan, *, auto: bool) -> bool:
        """Make the run that goes at once and the one that is governed; False where another increase is under way."""
        parts = split(plan, reduced=order.reduced)
        if parts.increase is None:
            self._create(order, parts.reduce or plan, RunKind.REDUCE, auto=True)
            return True
        is_busy = self.rows.busy() is not None
        if not is_busy:
            self._supersede([run for run in self.rows.runs.values() if run.waits], order.actor)
        first = "" if parts.reduce is None else self._reduce(order, parts.reduce)
        if is_busy:
            return False
        self._create(order, parts.increase, RunKind.INCREASE, auto=auto, reduce_run=first)
        return True

    def _reduce(self, order: Order, part: TransitionPlan) -> str:
        """Let what a plan only takes away go ahead, whoever holds the world."""
        run_id = f"{order.run_id}:reduce"
        if run_id in self.rows.runs:
            raise Refused("RunIdReusedError")
        self._create(replace(order, run_id=run_id), part, RunKind.REDUCE, auto=True)
        self.record("apply.split", _full(order.actor), order.run_id)
        return run_id

    def _supersede(self, older: list[Run], actor: str) -> None:
        for run in older:
            self.fire(run.view.run_id, Event.SUPERSEDE, _full(actor))

    def _create(self, order: Order, plan: TransitionPlan, kind: RunKind, *, auto: bool, reduce_run: str = "") -> None:
        policy = POLICIES[self.rows.policy]
        state = initial_state(kind, needs_approval=not auto)
        assert state is RunState.QUEUED or kind is RunKind.INCREASE
        view = RunView(order.run_id, kind, state, plan, flat_on_promote=policy.flat, flat_on_demote=policy.flat)
        self.rows.put(
            Run(
                view,
                order.request,
                self.rows.policy,
                order.evaluation,
                order.actor,
                auto,
                self.clock.now + policy.expiry,
                reduce_run,
                order.rollback_to,
            )
        )
        self.announce("apply_updated")
        self.record("apply.requested", _full(order.actor), order.run_id)
        if state is RunState.QUEUED:
            self.rows.bells.append(order.run_id)


def _full(actor: str) -> str:
    return actor if actor in {SCHEDULE, SHELL, SYSTEM} else f"person:{actor}"
