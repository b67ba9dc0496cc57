"""The oracle's runs: what a step, a decision or a crash must leave behind. The table itself is the product's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.plans import ActiveSet, active_set
from qmtl_worlds.contracts.states import LIVE_STATES, TERMINAL_STATES, RunKind, RunState
from qmtl_worlds.lifecycle import apply
from qmtl_worlds.lifecycle.apply import Event
from qmtl_worlds.lifecycle.budget import Exposures, violations
from qmtl_worlds.lifecycle.holds import Hold, HoldKind
from qmtl_worlds.lifecycle.run import (
    AddHold,
    InsertSet,
    RemoveHold,
    RunView,
    StepFacts,
    StoreResult,
    Timings,
    Transition,
    carried_out,
    target_content,
)
from tests.faults.stateful_clock import START, Clock
from tests.faults.stateful_rows import CAPS, POLICIES, Books, Evaluation, Placed, Refused, Run, Seat

MAX_STEPS: Final = 12
SYSTEM: Final = "system"
MOST_LEASE_AGE: Final = timedelta(seconds=120)
_TOLD: Final = {
    "rejected": "apply.rejected",
    "superseded": "apply.superseded",
    "expired": "apply.expired",
    "aborted": "apply.aborted",
    "taken_over": "apply.taken_over",
    "resumed": "apply.resumed",
}
BARRING: Final = frozenset({HoldKind.WITHDRAWN, HoldKind.KILL, HoldKind.OVERRIDE})
_WORDS: Final = {RunState.DONE: "completed"}


class Runs(Books):
    """Apply runs and the sets that they commit; ``entitled`` are the approvers who still have the right."""

    def __init__(self, clock: Clock, checksums: Mapping[int, str]) -> None:
        super().__init__(clock)
        self.checksums = checksums
        self.entitled = {"bob", "carol", "dave"}
        self.seen: dict[str, tuple[datetime, float]] = {}
        self._breaks = False

    def advance(self, run_id: str, *, steps: int = MAX_STEPS, breaks: bool = False) -> str:
        """Take a run as far as it goes; at most ``steps`` before the worker dies, or break where it would be told."""
        self._breaks = breaks
        try:
            self._advance(run_id, steps)
        finally:
            self._breaks = False
        return "ok"

    def late_step(self, run_id: str, *, behind: int) -> str:
        """Let a worker step that owned the run ``behind`` epochs ago."""
        with self.transaction():
            self._step(run_id, self.run(run_id).view.epoch - behind)
        return "ok"

    def restart(self) -> str:
        """Start the process again: it has seen nothing."""
        self.seen.clear()
        return "ok"

    def tick(self) -> str:
        """Do what is due: first reductions, then increases, then what has expired."""
        live = [run for run in self.rows.runs.values() if run.view.state in LIVE_STATES]
        for run in sorted(live, key=lambda one: one.view.kind is not RunKind.REDUCE):
            self.advance(run.view.run_id)
        for run in [run for run in self.rows.runs.values() if run.view.state is RunState.REQUESTED]:
            if run.expires_at <= self.clock.now:
                self.fire(run.view.run_id, Event.EXPIRE, SYSTEM)
        return "ok"

    def run(self, run_id: str) -> Run:
        if run_id not in self.rows.runs:
            raise Refused("RunNotFoundError")
        return self.rows.runs[run_id]

    def fire(self, run_id: str, event: Event, actor: str) -> bool:
        """Let something happen to a run; tell whether it moved."""
        run = self.run(run_id)
        moved = apply.fire(event, run.view, self._facts(run, run.view), self.clock.now, timings=self._timings())
        if moved.moved:
            self._carry_out(run, carried_out(run.view, moved), moved, actor)
        return moved.moved

    def evaluation(self, run: Run) -> Evaluation | None:
        return self.rows.evaluations.get(run.evaluation)

    def fresh(self, key: InstanceKey) -> bool:
        one = self.rows.bound(key)
        return one is not None and one.wanted and one.fresh_until is not None and one.fresh_until >= self.clock.now

    def still_bound(self, generation: int) -> frozenset[InstanceKey]:
        """Return the members of a generation that are bound and wanted as the instances that they were."""
        seats = self.rows.sets[generation][1]
        wanted = {one.key for one in self.rows.instances.values() if one.withdrawn_at is None and one.wanted}
        there = {key for key, seat in seats.items() if self.rows.instances[seat.instance].withdrawn_at is None}
        return frozenset(there & wanted)

    def _advance(self, run_id: str, steps: int) -> None:
        first = self.rows.runs[run_id].reduce_run if run_id in self.rows.runs else ""
        if first and self.rows.runs[first].view.state not in TERMINAL_STATES:
            self._advance(first, steps)
        epoch: int | None = None
        for _ in range(steps):
            with self.transaction():
                epoch = self._step(run_id, epoch)
            if epoch is None:
                return

    def _step(self, run_id: str, epoch: int | None) -> int | None:
        run = self.run(run_id)
        view = run.view
        if epoch not in {None, view.epoch}:
            self._tell("apply.fenced", SYSTEM, run_id)
            return None
        if view.state in TERMINAL_STATES:
            return None
        if epoch is None:
            claim = apply.fire(Event.TAKE_OVER, view, self._facts(run, view), self.clock.now, timings=self._timings())
            if not claim.moved:
                return None
            view = carried_out(view, claim)
            run = self.rows.put(replace(run, view=view))
            if claim.reason == "taken_over":
                self._tell("apply.taken_over", SYSTEM, run_id)
        step = apply.next_step(view, self._facts(run, view), self.clock.now, timings=self._timings())
        if not step.moved:
            self.rows.put(replace(run, view=replace(view, worker_lease_until=None)))
            return None
        after = carried_out(view, step)
        waits = after.state is RunState.DRAINING and self.clock.now < (after.drain_until or self.clock.now)
        if waits:
            self._watched(after)
            after = replace(after, worker_lease_until=None)
        self._carry_out(run, after, step, SYSTEM)
        return None if waits else after.epoch

    def _carry_out(self, run: Run, after: RunView, moved: Transition, actor: str) -> None:
        before, run_id = run.view.state, run.view.run_id
        run = self.rows.put(replace(run, view=after, reason=moved.reason if after.state is not before else run.reason))
        for effect in moved.effects:
            match effect:
                case AddHold(hold):
                    self.place(hold, actor)
                case RemoveHold(kind, owner):
                    gone = [name for name in self.rows.holds if name[:2] == (kind, owner)]
                    for name in gone:
                        del self.rows.holds[name]
                case InsertSet(content):
                    self._commit(run, content)
                    run = self.rows.put(replace(run, target=self.rows.generation))
                case StoreResult(outcome, reason):
                    told = {"outcome": outcome.value, "reason": reason, "generation": self.rows.generation}
                    run = self.rows.put(replace(run, result=told))
                case _:
                    pass
        if moved.visible or after.state is not before:
            self.announce("activation_updated" if moved.visible else "apply_updated")
        undone = before is RunState.ROLLING_BACK and after.state is RunState.ROLLED_BACK
        told_kind = None if undone else _TOLD.get(moved.reason)
        self._tell(told_kind or f"apply.{_WORDS.get(after.state, after.state.value)}", actor, run_id)

    def place(self, hold: Hold, actor: str) -> bool:
        """Put a hold, and tell whether that changes anything."""
        name = (hold.kind, hold.owner, hold.key)
        if (there := self.rows.holds.get(name)) is None:
            self.rows.holds[name] = Placed(hold, self.clock.now, actor, len(self.rows.outbox) + 1)
            return True
        if hold.level.strictness > there.hold.level.strictness:
            self.rows.holds[name] = replace(there, hold=hold)
            return True
        return False

    def _commit(self, run: Run, content: ActiveSet) -> None:
        """Commit a set: who stays keeps its seat, who leaves cools down, from the time of its hold if it has one."""
        before, now = self.rows.seats, self.clock.now
        undone = run.view.state in {RunState.ROLLING_BACK, RunState.HELD}
        origin = run.view.plan.base_generation if undone else run.rollback_to
        earlier = {} if origin is None else self.rows.sets[origin][1]
        after = {}
        for key, weight in content.weights.items():
            if key in before:
                after[key] = replace(before[key], weight=weight)
                continue
            newcomer = self.rows.bound(key)
            assert newcomer is not None, f"{key.text} comes in without being bound"
            was = earlier.get(key)
            since = was.since if was is not None and undone else now
            chosen_by = was.chosen_by if was else run.evaluation or run.view.run_id
            after[key] = Seat(newcomer.number, weight, since, chosen_by)
        for key in before.keys() - content.weights.keys():
            held = [one.at for one in self.rows.holds.values() if one.hold.key == key and one.hold.kind in BARRING]
            self.rows.demotions[before[key].instance] = min(held, default=now)
        for name in [
            name for name in self.rows.holds if name[0] is HoldKind.WITHDRAWN and name[2] not in content.weights
        ]:
            del self.rows.holds[name]
        self.rows.sets[self.rows.generation + 1] = (run.view.run_id, after)

    def _tell(self, kind: str, actor: str, run_id: str) -> None:
        if self._breaks:
            raise Refused("WorkerDiedError")
        self.record(kind, actor, run_id)

    def _timings(self) -> Timings:
        recent = [lease for at, lease in self.rows.leases if at >= self.clock.now - MOST_LEASE_AGE]
        return Timings(lease_seconds=max(self.rows.lease_ms, *recent, 0) / 1000)

    def _facts(self, run: Run, view: RunView) -> StepFacts:
        rows = self.rows
        current = rows.set_of(rows.generation)
        target = target_content(view, current)
        admitted = frozenset(target.weights.keys() - current.weights.keys())
        return StepFacts(
            epoch=view.epoch,
            current=current,
            holds=rows.held,
            policy_checksum=self.checksums[rows.policy],
            approved=self._approved(run),
            admissible=frozenset(key for key in target.weights if self.fresh(key) and self._may_gain(run, key)),
            set_valid=not violations(target, CAPS, Exposures(), admitted=admitted),
            closed_since=START - timedelta(hours=1) if rows.generation == 0 else None,
            watched_seconds=self._watched(view),
            replaced=self._replaced(run, view),
        )

    def _approved(self, run: Run) -> bool:
        if run.auto:
            return run.view.kind is RunKind.REDUCE or not (self.rows.paused or self.rows.pin is not None)
        counted = {name for name in run.approvals if name in self.entitled and name not in {run.requester, "alice"}}
        return self.clock.now < run.expires_at and len(counted) >= POLICIES[run.policy].approvals

    def _may_gain(self, run: Run, key: InstanceKey) -> bool:
        if run.rollback_to is not None:
            return key in self.still_bound(run.rollback_to)
        evaluation, newest, one = self.evaluation(run), self.rows.newest_ok(), self.rows.bound(key)
        if evaluation is None or newest is None or one is None:
            return False
        return one.bound_at <= evaluation.started_at and key in newest.decision.ranks

    def _watched(self, view: RunView) -> float:
        if view.state is not RunState.DRAINING or view.drain_until is None:
            return 0.0
        drain, since = self.seen.setdefault(view.run_id, (view.drain_until, self.clock.monotonic))
        if drain != view.drain_until:
            self.seen[view.run_id] = (view.drain_until, self.clock.monotonic)
            return 0.0
        return self.clock.monotonic - since

    def _replaced(self, run: Run, view: RunView) -> ActiveSet | None:
        if view.state is not RunState.SWITCHED or run.target is None:
            return None
        bound = self.still_bound(run.target - 1)
        return active_set({key: one.weight for key, one in self.rows.sets[run.target - 1][1].items() if key in bound})
