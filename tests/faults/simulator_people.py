"""People, markets and bad luck: what they do next is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.plans import ActiveSet, ChangeReason, TransitionPlan, active_set
from qmtl_worlds.contracts.states import TERMINAL_STATES, RunKind, RunState
from qmtl_worlds.lifecycle import apply
from qmtl_worlds.lifecycle import holds as hold_sets
from qmtl_worlds.lifecycle.apply import Event
from qmtl_worlds.lifecycle.holds import HoldKind, make_hold
from qmtl_worlds.lifecycle.plan import split
from tests.faults import simulator_rows as store
from tests.faults.simulator_actors import Office, Waits
from tests.faults.simulator_rows import KEYS, POLICY, TIMINGS, WORLD, Rows, step_facts

WORLD_HOLDS: Final = (make_hold(HoldKind.FREEZE, "operator"), make_hold(HoldKind.CIRCUIT, WORLD))
PROOFS: Final = ("approval", "budget", "policy")
WEIGHTS: Final = (0.0, 0.1, 0.2)
CAUSES: Final = (ChangeReason.OUTRANKED, ChangeReason.OUTRANKED, ChangeReason.GATE_FAIL)


class People:
    """Whoever asks for applies, approves, aborts, freezes and kills; it never waits for anything but the lock."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._draw = office.draw
        self._requests = 0
        self._acts: tuple[tuple[Callable[[Rows], Rows], int], ...] = (
            (self._request, 30),
            (self._approve, 40),
            (self._fire(Event.ABORT), 4),
            (self._fire(Event.RESUME), 8),
            (self._put_hold, 3),
            (self._lift_hold, 25),
            (self._kill_instance, 2),
            (self._reduce, 6),
            (self._lose, 2),
            (self._regain, 12),
        )

    def work(self) -> Waits:
        acts, weights = zip(*self._acts, strict=True)
        while True:
            if self._draw.random() < 0.02:
                self._kill()
            while (transaction := self._office.database.begin()) is None:
                yield 0.05
            (act,) = self._draw.choices(acts, weights)
            transaction.rows = act(transaction.rows)
            self._office.commit(transaction)
            yield 0.1 + 0.8 * self._draw.random()

    def _kill(self) -> None:
        before = self._office.database.rows
        self._office.database.kill(make_hold(HoldKind.KILL, "operator"))
        self._office.observer.saw(before, self._office.database.rows, self._office.database.true_time)

    def _request(self, rows: Rows) -> Rows:
        """Ask for another set; what only takes away is a run of its own, and goes first."""
        before, after = rows.current, active_set({key: self._draw.choice(WEIGHTS) for key in KEYS})
        leaving = sorted(before.weights.keys() - after.weights.keys())
        return self._start(rows, after, {key: self._draw.choice(CAUSES) for key in leaving})

    def _reduce(self, rows: Rows) -> Rows:
        """Somebody fails a gate, or is cut to half."""
        if not rows.current.entries:
            return rows
        chosen = self._draw.choice(rows.current.entries)
        left = self._draw.choice((0.0, chosen.weight / 2))
        after = active_set({**rows.current.weights, chosen.key: left})
        return self._start(rows, after, {chosen.key: ChangeReason.GATE_FAIL} if not left else {})

    def _kill_instance(self, rows: Rows) -> Rows:
        """Close one instance at once; its membership follows by a reduce run."""
        key = self._draw.choice(KEYS)
        rows = store.rehold(rows, hold_sets.add(rows.holds, make_hold(HoldKind.KILL, f"operator:{key.text}", key=key)))
        left = {other: weight for other, weight in rows.current.weights.items() if other != key}
        return self._start(rows, active_set(left), {key: ChangeReason.KILLED})

    def _start(self, rows: Rows, after: ActiveSet, reasons: dict[InstanceKey, ChangeReason]) -> Rows:
        before = rows.current
        gone = {key: why for key, why in reasons.items() if key in before.weights and key not in after.weights}
        parts = split(TransitionPlan(WORLD, rows.generation, POLICY, before, after, tuple(sorted(gone.items()))))
        self._requests += 1
        run_id = f"run-{self._requests}"
        if parts.increase is not None:
            if not store.may_start(rows, run_id):
                return rows
            for other, row in rows.runs.items():
                if row.view.state is RunState.REQUESTED:
                    rows = self._fired(rows, other, Event.SUPERSEDE)
            rows = store.new_run(rows, run_id, RunKind.INCREASE, parts.increase)
        if parts.reduce is not None:
            rows = store.new_run(rows, f"{run_id}:reduce", RunKind.REDUCE, parts.reduce)
            self._ring(f"{run_id}:reduce")
        return rows

    def _approve(self, rows: Rows) -> Rows:
        for run_id, row in rows.runs.items():
            if row.view.state is RunState.REQUESTED and store.may_start(rows, run_id):
                self._ring(run_id)
                return self._fired(rows.with_run(replace(row, approved=True)), run_id, Event.APPROVE)
        return rows

    def _fire(self, event: Event) -> Callable[[Rows], Rows]:
        def act(rows: Rows) -> Rows:
            live = [run_id for run_id, row in rows.runs.items() if row.view.state not in TERMINAL_STATES]
            return self._fired(rows, self._draw.choice(live), event) if live else rows

        return act

    def _fired(self, rows: Rows, run_id: str, event: Event) -> Rows:
        row = rows.runs[run_id]
        facts = step_facts(rows, row, epoch=row.view.epoch)
        transition = apply.fire(event, row.view, facts, self._office.database.now, timings=TIMINGS)
        return store.carry_out(rows, row, row.view, transition) if transition.moved else rows

    def _put_hold(self, rows: Rows) -> Rows:
        return store.rehold(rows, hold_sets.add(rows.holds, self._draw.choice(WORLD_HOLDS)))

    def _lift_hold(self, rows: Rows) -> Rows:
        """Lift a hold of any kind but an apply's, which is nobody's but the run's."""
        liftable = sorted((hold.kind, hold.owner) for hold in rows.holds if hold.kind is not HoldKind.APPLY)
        if not liftable:
            return rows
        kind, owner = self._draw.choice(liftable)
        return store.rehold(rows, hold_sets.remove(rows.holds, kind=kind, owner=owner))

    def _lose(self, rows: Rows) -> Rows:
        if self._draw.random() < 0.5:
            return replace(rows, stale=rows.stale | {self._draw.choice(KEYS)})
        return replace(rows, lost=rows.lost | {self._draw.choice(PROOFS)})

    def _regain(self, rows: Rows) -> Rows:
        return replace(rows, stale=frozenset(), lost=frozenset())

    def _ring(self, run_id: str) -> None:
        """Send a doorbell that may be lost, doubled or late."""
        self._office.bells.extend([run_id] * self._draw.choice((0, 1, 1, 1, 2)))
