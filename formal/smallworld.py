"""The small world: two increase runs, a reduce run, two workers, two Runners, Redis, people and faults.

``moves`` lists everything that can happen next in a state.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeVar

from formal import copies, events
from formal.copies import Answer
from formal.machine import Machine
from formal.rows import ANT, BEE, CAT, INCREASE, LIVE, REDUCE, WATCHED, Outcome, Run, Truth, new_plan, permitted, set_of
from formal.states import Move, Scope, State, Transaction, Worker
from qmtl_worlds.contracts.states import RunState
from qmtl_worlds.lifecycle.apply import Event

BASE: Final = set_of(ANT, BEE)
GOALS: Final = (set_of(ANT, CAT), set_of(BEE, CAT))
"""What the increase runs lead to, whatever they start from."""
_TRADES: Final = (0b010, 0b100)
"""One Runner trades bee, which leaves first; the other trades cat, which comes."""
OPEN_SINCE_EVER: Final = -1


class SmallWorld:
    """All that can happen in a world of the given scope."""

    def __init__(self, scope: Scope) -> None:
        """Ask the table that is in force now."""
        self.scope = scope
        self._machine = Machine(scope.lease, flat=scope.flat)
        self._events = events.Events(self._machine, scope.act_kinds, GOALS[: scope.increases])

    def start(self) -> State:
        """Return the world before anything has happened: ant and bee trade, a first run waits for approval."""
        runs = (Run(INCREASE, RunState.REQUESTED.value, new_plan(BASE, GOALS[0])),)
        truth = Truth(runs, BASE)
        nothing = Answer(0, 0, 0, 0)
        return State(
            truth=truth,
            shut=_shut(truth, (OPEN_SINCE_EVER,) * len(WATCHED)),
            workers=(None,) * self.scope.workers,
            runners=(nothing, nothing),
            frames=(None, None),
            faults=self.scope.faults,
            acts=self.scope.acts,
        )

    def moves(self, state: State) -> Iterator[Move]:
        """Return everything that can happen next."""
        yield Move("a tick passes", self._tick(state), helps=True)
        yield from self._work(state)
        yield from self._readers(state)
        if self.scope.redis:
            yield from self._projection(state)
        if state.faults:
            yield from self._faults(state)
        for event in self._events.possible(state.truth, locked=state.transaction is not None, acts=state.acts):
            after = self._committed(state._replace(acts=state.acts - event.costs), event.truth, event.outcome)
            if event.outcome is not None and event.outcome.fences:
                after = after._replace(workers=_fenced(after.workers, event.run, but=None))
            if state.transaction is not None:
                pending = events.killed(state.transaction.truth)
                after = after._replace(transaction=state.transaction._replace(truth=pending))
            yield Move(event.label, after, helps=False, wrong=event.outcome.wrong if event.outcome else "")

    def _tick(self, state: State) -> State:
        lease = self.scope.lease
        aged = copies.aged
        runners = tuple(copies.settled(aged(held, lease) or held) if held.ticks else held for held in state.runners)
        pending = state.transaction
        return state._replace(
            truth=_later(state.truth),
            shut=tuple(count if count < 0 else min(count + 1, lease) for count in state.shut),
            runners=runners,
            frames=tuple(aged(frame, lease) for frame in state.frames),
            transaction=pending and pending._replace(truth=_later(pending.truth)),
            redis=copies.aged_copy(state.redis, lease),
            replica=copies.aged_copy(state.replica, lease),
            snapshot=aged(state.snapshot, lease),
        )

    def _work(self, state: State) -> Iterator[Move]:
        pending = state.transaction
        if pending is not None:
            yield Move(f"worker {pending.worker}'s commit becomes visible", self._visible(state, pending), helps=True)
            return
        for place, worker in enumerate(state.workers):
            if worker is not None:
                yield from self._step(state, place, worker)
            elif None not in state.workers[:place]:
                for index, run in enumerate(state.truth.runs):
                    if run.state in LIVE:
                        yield from self._claim(state, place, index)

    def _claim(self, state: State, place: int, index: int) -> Iterator[Move]:
        taken = self._machine.ask(state.truth, index, Event.TAKE_OVER)
        if taken.moved:
            claimed = _with_run(state.truth, index, taken.run)
            yield from self._step(state, place, Worker(index, current=True), claimed)

    def _step(self, state: State, place: int, worker: Worker, claimed: Truth | None = None) -> Iterator[Move]:
        """Step a run; a worker that comes to it claims it in the same transaction."""
        seen, index = claimed or state.truth, worker.run
        outcome = self._machine.ask(seen, index, Event.STEP, current_epoch=worker.current)
        label = f"worker {place} {'claims and ' if claimed else ''}steps run {index}: {outcome.reason}"
        if not outcome.moved:
            given = seen if not worker.current else _with_run(seen, index, seen.runs[index]._replace(lease=None))
            workers = _fenced(state.workers, index, but=place) if claimed else state.workers
            yield Move(label, state._replace(truth=given, workers=_put(workers, place, None)), helps=True)
            return
        transaction = Transaction(
            truth=events.carried_out(seen, index, outcome),
            worker=place,
            outcome=outcome,
            fences=outcome.fences or claimed is not None,
        )
        pending = state._replace(transaction=transaction, workers=_put(state.workers, place, worker))
        wrong = "" if worker.current else "I6: a worker with an old epoch changed something"
        after = pending if self.scope.lag else self._visible(pending, transaction)
        yield Move(label, after, helps=True, wrong=wrong or outcome.wrong)

    def _visible(self, state: State, pending: Transaction) -> State:
        worker = state.workers[pending.worker]
        after = self._committed(state._replace(transaction=None), pending.truth, pending.outcome)
        if worker is None:
            return after
        workers = _fenced(after.workers, worker.run, but=pending.worker) if pending.fences else after.workers
        goes_on = pending.outcome.run.state in LIVE
        kept = Worker(worker.run, current=True) if goes_on else None
        return after._replace(workers=_put(workers, pending.worker, kept))

    def _committed(self, state: State, truth: Truth, outcome: Outcome | None) -> State:
        bell = not self.scope.reconciles
        after = state._replace(truth=truth, shut=_shut(truth, state.shut), bell=bell)
        if outcome is None or not outcome.generations or outcome.run.kind == REDUCE:
            return after
        return after._replace(
            runners=tuple(copies.outdated(held) or held for held in after.runners),
            frames=tuple(map(copies.outdated, after.frames)),
            redis=copies.outdated(after.redis),
            replica=copies.outdated(after.replica),
            snapshot=copies.outdated(after.snapshot),
        )

    def _readers(self, state: State) -> Iterator[Move]:
        for place, held in enumerate(state.runners):
            answer = copies.ask(state.truth, self.scope.lease, _TRADES[place])
            renewed = copies.renewed(held, answer)
            if renewed != held:
                yield _told(state, place, renewed, f"runner {place} reads")
            if self.scope.frames:
                yield from _frame_moves(state, place, answer)

    def _projection(self, state: State) -> Iterator[Move]:
        if state.snapshot is not None:
            redis = copies.written(state.redis, state.snapshot, self.scope.lease)
            yield Move("the projector writes", state._replace(redis=redis, snapshot=None), helps=True)
        elif self.scope.reconciles or state.bell:
            snapshot = copies.ask(state.truth, self.scope.lease, -1)
            yield Move("the projector reads", state._replace(snapshot=snapshot, bell=False), helps=True)
        if "failover" in self.scope.fault_kinds and state.faults and state.replica != state.redis:
            yield Move("the replica follows", state._replace(replica=state.redis), helps=True)

    def _faults(self, state: State) -> Iterator[Move]:
        state = state._replace(faults=state.faults - 1)
        kinds, pending = self.scope.fault_kinds, state.transaction
        for place, worker in enumerate(state.workers if "crash" in kinds else ()):
            if worker is not None:
                lost = pending is not None and pending.worker == place
                dead = state._replace(workers=_put(state.workers, place, None), bell=False)
                yield Move(f"worker {place} dies", dead._replace(transaction=None if lost else pending), helps=False)
        if "wipe" in kinds and state.redis is not None:
            yield Move("Redis is wiped", state._replace(redis=None), helps=False)
        if "failover" in kinds and state.replica != state.redis:
            yield Move("Redis fails over to its replica", state._replace(redis=state.replica), helps=False)


def _told(state: State, place: int, renewed: Answer, label: str) -> Move:
    held = state.runners[place]
    falls = (renewed.revision, renewed.kills) < (held.revision, held.kills)
    after = state._replace(runners=_put(state.runners, place, renewed))
    return Move(label, after, helps=True, wrong="I6: a Runner went back to an older answer" if falls else "")


def _frame_moves(state: State, place: int, answer: Answer) -> Iterator[Move]:
    frame = state.frames[place]
    if frame is None:
        yield Move(
            f"a frame leaves for runner {place}", state._replace(frames=_put(state.frames, place, answer)), helps=True
        )
        return
    renewed = copies.renewed(state.runners[place], copies.delivered(frame))
    after = state._replace(frames=_put(state.frames, place, None))
    yield _told(after, place, renewed, f"the frame reaches runner {place}")


def _shut(truth: Truth, before: tuple[int, ...]) -> tuple[int, ...]:
    mask = permitted(truth.content, truth.holds)
    return tuple(OPEN_SINCE_EVER if mask >> place & 1 else max(count, 0) for place, count in enumerate(before))


def _later(truth: Truth) -> Truth:
    runs = tuple(run._replace(drain=_less(run.drain), lease=_less(run.lease)) for run in truth.runs)
    return truth._replace(runs=runs) if runs != truth.runs else truth


def _less(ticks: int | None) -> int | None:
    return ticks and ticks - 1


def _with_run(truth: Truth, index: int, run: Run) -> Truth:
    return truth._replace(runs=(*truth.runs[:index], run, *truth.runs[index + 1 :]))


def _fenced(workers: tuple[Worker | None, ...], index: int, *, but: int | None) -> tuple[Worker | None, ...]:
    """Return the workers after the epoch of a run has risen: all of them but one own an old one."""
    return tuple(
        worker._replace(current=False) if worker and worker.run == index and place != but else worker
        for place, worker in enumerate(workers)
    )


Item = TypeVar("Item")


def _put(items: tuple[Item, ...], place: int, item: Item) -> tuple[Item, ...]:
    return (*items[:place], item, *items[place + 1 :])
