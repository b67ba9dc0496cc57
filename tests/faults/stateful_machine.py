"""The state machine: what may happen to a world in any order, one rule each, done on all sides and compared."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.states import LIVE_STATES, RunState
from qmtl_worlds.lifecycle.apply import Event
from tests.faults.stateful_closing_rules import PEOPLE, PLACES, ClosingRules
from tests.faults.stateful_layers import Laying
from tests.faults.stateful_rows import KEYS, NAMES, POLICIES, Run
from tests.faults.stateful_stage import Reality, Stage
from tests.faults.stateful_wishes import Wish, wishes

SECONDS = st.sampled_from((0.0, 0.4, 1.3, 3.0, 5.3, 20.0, 301.0, 700.0))
DRAIN = 5.3
STORIES = ("draining", "frozen", "held", "waiting", "flattening", "tripped", "overridden", "trading", "new")


class WorldMachine(ClosingRules):
    """Everything that people, workers, Runners' data and misfortune can do to one world."""

    @initialize(story=st.sampled_from(STORIES))
    def begin(self, story: str) -> None:
        """Come to a world in the middle of its life."""
        if story == "new":
            return
        if story == "flattening":
            self.act("put_policy", 3, "bob")
        self._first_set()
        if story == "overridden":
            self.act("override", "alice", KEYS[0], Laying(active=False, seconds=20))
            self.act("override", "dave", KEYS[1], Laying(active=True, weight=0.05))
            self.act("override", "dave", KEYS[1], Laying(active=True))
            self.act("grant", 1, "dave")
        if story == "tripped":
            self.act("value", 100.0)
            self.clock.wait(1.0)
            self.act("value", 55.0)
        if story in {"trading", "flattening", "overridden", "tripped"}:
            return
        self._next_set()
        if story == "waiting":
            return
        self.act("approve", "run-2", "bob", stale=False)
        self.act("advance", "run-2")
        if story == "draining":
            return
        self.clock.wait(DRAIN if story == "frozen" else 301.0)
        self.act("advance", "run-2", steps=1)

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self.clock.wait(seconds)

    @rule(seconds=SECONDS)
    def tick(self, seconds: float) -> None:
        self.clock.wait(seconds)
        self.act("tick")

    @rule(seconds=st.sampled_from((0.5, DRAIN)))
    def live_runs_go_on(self, seconds: float) -> None:
        self.clock.wait(seconds)
        self.act("tick")

    @precondition(lambda self: self.oracle.rows.bells)
    @rule(place=PLACES)
    def bell_rings(self, place: int) -> None:
        """A doorbell arrives: in time, late, or once more."""
        bells = self.oracle.rows.bells
        run_id = bells[-1 - place % len(bells)]
        self.act("advance", run_id)

    @precondition(lambda self: self.live())
    @rule(place=PLACES, steps=st.integers(1, 3))
    def worker_dies_after(self, place: int, steps: int) -> None:
        """A worker takes a run some steps further and dies with its lease."""
        run_id = self.pick(self.live(), place).view.run_id
        self.act("advance", run_id, steps=steps)

    @precondition(lambda self: self.live())
    @rule(place=PLACES)
    def worker_dies_inside(self, place: int) -> None:
        """A worker is killed in the middle of a transaction."""
        run_id = self.pick(self.live(), place).view.run_id
        self.act("advance", run_id, breaks=True)

    @precondition(lambda self: self.oracle.rows.runs)
    @rule(place=PLACES, behind=st.integers(0, 2))
    def stopped_worker_comes_back(self, place: int, behind: int) -> None:
        """A worker that was stopped goes on with the epoch that it had."""
        run_id = self.pick(self.runs(), place).view.run_id
        self.act("late_step", run_id, behind=behind)

    @rule(wish=wishes(), lag=st.sampled_from((0, 0, 90)))
    def evaluate(self, wish: Wish, lag: int) -> None:
        self._evaluate(wish, scheduled=False, lag=lag)

    @rule(wish=wishes())
    def schedule_evaluates(self, wish: Wish) -> None:
        self._evaluate(wish, scheduled=True, lag=0)

    @rule(wish=wishes(), actor=st.sampled_from(("alice", "alice", "dave")))
    def ask(self, wish: Wish, actor: str) -> None:
        """Evaluate, and ask for what came out."""
        self._evaluate(wish, scheduled=False, lag=0)
        self._request(actor, 0, ())

    @precondition(lambda self: self.oracle.rows.evaluations)
    @rule(actor=PEOPLE, place=PLACES)
    def request(self, actor: str, place: int) -> None:
        self._request(actor, place, ())

    @precondition(lambda self: self.oracle.rows.evaluations)
    @rule(activate=st.sets(st.sampled_from(KEYS), max_size=2), deactivate=st.sets(st.sampled_from(KEYS), max_size=2))
    def request_by_hand(self, activate: set[InstanceKey], deactivate: set[InstanceKey]) -> None:
        self._request("alice", 0, (tuple(sorted(activate)), tuple(sorted(deactivate))))

    @precondition(lambda self: self.oracle.rows.evaluations and self.oracle.rows.runs)
    @rule(place=PLACES, same=st.booleans())
    def run_id_is_used_again(self, place: int, same: bool) -> None:
        """The same request comes again, or another one under its name."""
        run = self.pick(self.runs(), place)
        evaluation = run.evaluation if same and run.evaluation else "eval-other"
        self.act("request", run.view.run_id, evaluation, "alice", ())

    @precondition(lambda self: self.oracle.rows.runs)
    @rule(place=PLACES, actor=PEOPLE, stale=st.sampled_from((False, False, False, True)))
    def approve(self, place: int, actor: str, stale: bool) -> None:
        run_id = self.pick(self.waiting() or self.runs(), place).view.run_id
        self.act("approve", run_id, actor, stale=stale)

    @precondition(lambda self: self.waiting())
    @rule()
    def two_approve(self) -> None:
        run_id = self.waiting()[0].view.run_id
        for actor in ("bob", "carol"):
            self.act("approve", run_id, actor, stale=False)

    @precondition(lambda self: self.oracle.rows.runs)
    @rule(place=PLACES, actor=PEOPLE, event=st.sampled_from((Event.REJECT, Event.ABORT, Event.ABORT, Event.RESUME)))
    def decide(self, place: int, actor: str, event: Event) -> None:
        run_id = self.pick(self.live() or self.runs(), place).view.run_id
        self.act("decide", run_id, event, actor)

    @precondition(lambda self: self.held())
    @rule(event=st.sampled_from((Event.ABORT, Event.RESUME)))
    def decide_held(self, event: Event) -> None:
        run_id = self.held()[0].view.run_id
        self.act("decide", run_id, event, "dave")

    @rule(back=st.integers(0, 3), actor=PEOPLE)
    def roll_back(self, back: int, actor: str) -> None:
        generation = max(0, self.oracle.rows.generation - back)
        run_id = self.new_id("run")
        self.act("roll_back", run_id, generation, actor)

    @rule(verb=st.sampled_from(("freeze", "unfreeze", "unfreeze")), actor=PEOPLE)
    def freeze_or_unfreeze(self, verb: str, actor: str) -> None:
        self.act(verb, actor)

    @rule(actor=PEOPLE, paused=st.booleans())
    def pause(self, actor: str, paused: bool) -> None:
        self.act("pause", actor, paused=paused)

    @precondition(lambda self: self.oracle.rows.pin is not None)
    @rule(actor=PEOPLE)
    def unpin(self, actor: str) -> None:
        self.act("unpin", actor)

    @rule(actor=st.sampled_from(("alice", "eve")), lease_ms=st.sampled_from((1000, 5000)))
    def set_lease(self, actor: str, lease_ms: int) -> None:
        self.act("set_lease", actor, lease_ms)

    @rule(version=st.sampled_from(tuple(POLICIES)), approver=st.sampled_from(("bob", "dave", "alice")))
    def put_policy(self, version: int, approver: str) -> None:
        self.act("put_policy", version, approver)

    @rule(entitled=st.booleans())
    def right_changes(self, entitled: bool) -> None:
        self.act("set_right", "bob", entitled=entitled)

    @precondition(lambda self: "bob" in self.oracle.entitled and self.approved_by("bob"))
    @rule()
    def approver_is_dismissed(self) -> None:
        """Somebody loses the right to approve while a run rests on the approval."""
        self.act("set_right", "bob", entitled=False)

    @rule(keys=st.sets(st.sampled_from(KEYS)))
    def data_comes(self, keys: set[InstanceKey]) -> None:
        for key in sorted(keys or KEYS):
            self.act("push", key)

    @rule(key=st.sampled_from(KEYS), params=st.sampled_from((None, 0, 0, 1)))
    def bind_or_unbind(self, key: InstanceKey, params: int | None) -> None:
        """Bind with these params, other ones than before or the same; None unbinds."""
        if params is None:
            self.act("unbind", key)
        else:
            self.act("bind", key, params)

    @rule(names=st.sets(st.sampled_from(NAMES), min_size=3))
    def choose(self, names: set[str]) -> None:
        self.act("choose", tuple(sorted(names)))

    @rule(what=st.sampled_from(("forged", "restart", "back", "ahead", "wiped", "failed over", "renewed")))
    def go_wrong(self, what: str) -> None:
        """A forged doorbell, a new process, a clock that is corrected, a Redis that is empty, old or renewed."""
        match what:
            case "forged":
                self.act("advance", "run-unknown")
            case "restart":
                self.act("restart")
            case "back":
                self.clock.jump(-2.0)
            case "ahead":
                self.clock.jump(8.0)
            case "wiped":
                self.with_copy(Reality.wipe)
            case "renewed":
                self.with_copy(Reality.project)
            case _:
                self.with_copy(Reality.fail_over)

    def _first_set(self) -> None:
        self._evaluate(Wish({KEYS[0]: 0.2, KEYS[1]: 0.1, KEYS[4]: 0.2}), scheduled=False, lag=0)
        self._request("alice", 0, ())
        for approver in ("bob", "carol")[: POLICIES[self.oracle.rows.policy].approvals]:
            self.act("approve", "run-1", approver, stale=False)
        self.act("advance", "run-1")

    def _next_set(self) -> None:
        self._evaluate(Wish({KEYS[1]: 0.2, KEYS[2]: 0.2, KEYS[4]: 0.1}), scheduled=False, lag=0)
        self._request("alice", 0, ())

    def _evaluate(self, wish: Wish, *, scheduled: bool, lag: int) -> None:
        run_id, decision = self.new_id("eval"), wish.decided(self.oracle.rows)
        self.act("evaluate", run_id, decision, scheduled=scheduled, lag=lag)

    def _request(self, actor: str, place: int, by_hand: tuple[tuple[InstanceKey, ...], ...]) -> None:
        known = list(self.oracle.rows.evaluations)
        evaluation, run_id = known[-1 - place % len(known)], self.new_id("run")
        self.act("request", run_id, evaluation, actor, by_hand)

    def runs(self) -> list[Run]:
        """Return the runs, the newest first."""
        return list(self.oracle.rows.runs.values())[::-1]

    def waiting(self) -> list[Run]:
        return [run for run in self.runs() if run.waits]

    def live(self) -> list[Run]:
        return [run for run in self.runs() if run.view.state in LIVE_STATES]

    def approved_by(self, name: str) -> list[Run]:
        """Return the runs under way that somebody has approved."""
        return [run for run in self.live() if name in run.approvals]

    def held(self) -> list[Run]:
        return [run for run in self.runs() if run.view.state is RunState.HELD]


def machine_on(stage: Stage) -> type[WorldMachine]:
    """Return the machine that plays on ``stage``."""
    return type("WorldMachine", (WorldMachine,), {"stage": stage})
