"""Who is under way in the simulator: workers, the projector, Runners. Each is a generator that yields its waits.

What a real process would do between two waits happens at once; at a wait it can be killed, stopped or overtaken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random
from typing import Final

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.lease import Position, StreamClock
from qmtl_worlds.contracts.states import LIVE_STATES, TERMINAL_STATES, RunState
from qmtl_worlds.lifecycle import apply
from qmtl_worlds.lifecycle.apply import Event
from qmtl_worlds.lifecycle.gate import lease_left_ms
from qmtl_worlds.lifecycle.run import carried_out
from qmtl_worlds.sdk import permission as permissions
from qmtl_worlds.sdk.permission import ActivationReading, no_permission
from qmtl_worlds.sdk.verdict import GateRules
from tests.faults.simulator_rows import TIMINGS, Database, RunRow, Transaction, carry_out, ensure, step_facts
from tests.faults.simulator_watch import Held, Observer, envelope_of

LEASE: Final = TIMINGS.lease_seconds
RULES: Final = GateRules()
BEFORE_ALL: Final = Position(0, 0, 0)
MAX_STEPS: Final = 12
Waits = Iterator[float]


@dataclass(frozen=True, slots=True)
class Copy:
    """What Redis holds of the world: weights of the active instances, until ``deadline`` on its own clock."""

    position: Position
    entries: Mapping[InstanceKey, float]
    deadline: float


class Redis:
    """A copy and a replica's copy of it; both die by themselves."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.master: Copy | None = None
        self.replica: Copy | None = None

    def read(self) -> Copy | None:
        """Return what a direct reader sees."""
        return self.master if self.master is not None and not self.expired(self.master) else None

    def expired(self, copy: Copy) -> bool:
        return self._database.true_time >= copy.deadline

    def write(self, copy: Copy) -> None:
        """Replace the copy in one call; refused when it is too late, or Redis holds a newer one (R2, R6)."""
        held = self.read()
        if not self.expired(copy) and (held is None or held.position <= copy.position):
            self.master = copy


@dataclass(slots=True)
class Office:
    """What the processes of the server share."""

    draw: Random
    database: Database
    redis: Redis
    observer: Observer
    bells: list[str]
    calm: bool = False

    def latency(self) -> float:
        """Draw how long something takes: nothing, mostly, and in the storm now and then very long."""
        shape = self.draw.random()
        if self.calm:
            return 0.05 * shape
        return 0.0 if shape < 0.4 else 0.15 * shape if shape < 0.95 else 2.0 * self.draw.random()

    def commit(self, transaction: Transaction) -> bool:
        before = self.database.rows
        done = self.database.commit(transaction)
        if done:
            self.observer.saw(before, self.database.rows, self.database.true_time)
        return done


class Worker:
    """A tick process that also takes doorbells: it looks at runs and takes them as far as they go."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._transaction: Transaction | None = None
        self._first_seen: dict[tuple[str, datetime | None], float] = {}

    def work(self) -> Waits:
        office = self._office
        while True:
            if office.bells:
                run_ids = [office.bells.pop(office.draw.randrange(len(office.bells)))]
            else:
                rows = office.database.rows
                run_ids = [run_id for run_id, row in rows.runs.items() if row.view.state in LIVE_STATES]
            for run_id in run_ids:
                yield from self._advance(run_id)
            yield 0.5 + office.draw.random()

    def die(self) -> None:
        """Lose what was under way, as a database does with a connection that is gone, and all that was in memory."""
        self._first_seen.clear()
        self._office.database.roll_back(self._transaction)

    def _advance(self, run_id: str) -> Waits:
        epoch: int | None = None
        for _ in range(MAX_STEPS):
            while (transaction := self._office.database.begin()) is None:
                yield 0.05
            self._transaction = transaction
            yield self._office.latency()
            after = self._step(transaction, run_id, epoch)
            if after is None:
                self._office.database.roll_back(transaction)
                return
            yield self._office.latency()
            if not self._office.commit(transaction):
                return
            moved, epoch = after
            yield self._office.latency()
            if not moved:
                return
            yield from project(self._office)

    def _step(self, transaction: Transaction, run_id: str, epoch: int | None) -> tuple[bool, int] | None:
        """Make one step under the lock, claiming the run first where this worker comes to it anew."""
        rows, now = transaction.rows, self._office.database.now
        row = rows.runs.get(run_id)
        if row is None or row.view.state in TERMINAL_STATES:
            return None
        view = row.view
        if epoch is None:
            claim = apply.fire(Event.TAKE_OVER, view, step_facts(rows, row, epoch=view.epoch), now, timings=TIMINGS)
            if not claim.moved:
                return None
            view = carried_out(view, claim)
            epoch = view.epoch
        facts = step_facts(rows, row, epoch=epoch, watched_seconds=self._watched(row))
        step = apply.next_step(view, facts, now, timings=TIMINGS)
        if step.moved:
            ensure("I6", holds=epoch == view.epoch, says="a worker with an old epoch changed something")
            transaction.rows = carry_out(rows, row, view, step)
            return True, transaction.rows.runs[run_id].view.epoch
        if view.epoch == epoch:
            given_back = replace(row, view=replace(view, worker_lease_until=None))
            transaction.rows = rows.with_run(given_back)
        return False, epoch

    def _watched(self, row: RunRow) -> float:
        """Return for how long this process has seen the run's drain; the first look starts the count."""
        if row.view.state is not RunState.DRAINING:
            return 0.0
        now = self._office.database.true_time
        return now - self._first_seen.setdefault((row.view.run_id, row.view.drain_until), now)


def project(office: Office) -> Waits:
    """Copy the rows to Redis: its time first, then the rows, then one call."""
    started = office.database.true_time
    yield office.latency()
    rows = office.database.rows
    entries = office.observer.ledger[rows.position]
    yield office.latency()
    office.redis.write(Copy(rows.position, entries, copy_deadline(started, office.database.true_time)))


def copy_deadline(started: float, _written: float) -> float:
    """Return when the copy dies: counted from before the rows were read (R1)."""
    return started + LEASE


def reconcile(office: Office) -> Waits:
    """Write the copy again and again, whether or not anything has changed."""
    while True:
        yield from project(office)
        yield 0.5 + 0.5 * office.draw.random()


class Runner:
    """An order gate for one instance, which polls or listens to a stream whose frames may wait in buffers."""

    def __init__(self, office: Office, key: InstanceKey, *, streams: bool) -> None:
        self._office = office
        self.key = key
        self._streams = streams
        self._rate = 1 + 0.0009 * (office.draw.random() - 0.5)
        self._name = f"runner {key.text}"
        self._permission = no_permission(RULES)
        self._position = BEFORE_ALL
        self._sent = 0.0

    @property
    def monotonic(self) -> float:
        """Return the Runner's own clock, which drifts."""
        return 1000 + self._office.database.true_time * self._rate

    def held(self, now: float) -> Held | None:
        """Return what orders that increase risk may go by now, None where none may."""
        held, clock = self._permission, self.monotonic
        if not held.entry.allowed or clock >= held.deadline:
            return None
        return Held(self._name, self.key, held.entry.weight, self._position, now - self._sent)

    def work(self) -> Waits:
        """Begin anew, without a memory."""
        self._permission, self._position = no_permission(RULES), BEFORE_ALL
        while True:
            yield from self._listen() if self._streams else self._poll()

    def ask(self) -> Waits:
        """Poll beside the stream, so that answers overtake each other."""
        while True:
            yield from self._poll()

    def _poll(self) -> Waits:
        sent, sent_true = self.monotonic, self._office.database.true_time
        yield self._office.latency()
        started = self._office.database.true_time
        rows = self._office.database.rows
        yield self._office.latency()
        answer = envelope_of(rows, self.key)
        left = lease_left_ms(
            answer,
            lease_seconds=LEASE,
            confirmed_for_seconds=self._office.database.true_time - started,
            fresh_for_seconds=3600.0,
        )
        yield self._office.latency()
        self._take(ActivationReading(answer, left, sent), sent_true)
        yield LEASE / 3

    def _listen(self) -> Waits:
        """Read a few frames of one connection; the server's clock has its own zero."""
        office = self._office
        connected, connected_true = self.monotonic, office.database.true_time
        yield office.latency()
        clock = StreamClock(connected, office.database.true_time * 1000)
        for _ in range(4):
            server_ms = office.database.true_time * 1000
            sent_true = connected_true + server_ms / 1000 - clock.first_server_ms / 1000
            answer = envelope_of(office.database.rows, self.key)
            yield office.latency()
            deadline = clock.deadline(server_ms=server_ms, lease_ms=LEASE * 1000)
            self._take(ActivationReading(answer, LEASE * 1000, deadline - LEASE), sent_true)
            yield LEASE / 3

    def _take(self, reading: ActivationReading, sent: float) -> None:
        held = self._permission
        self._permission = permissions.renew(held, reading, rules=RULES)
        if self._permission is held or (activation := self._permission.activation) is None:
            return
        before, self._position, self._sent = self._position, activation.position or BEFORE_ALL, sent
        self._office.observer.runner_took(self._name, before, self._position)
