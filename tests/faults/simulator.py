"""A deterministic simulation of a world under fire: one seed, one history.

A schedule lets workers, Runners, a projector and people loose on rows in memory, and things go wrong: processes die and
are stopped, messages are lost and doubled, Redis is wiped and fails over, clocks jump. Then all is calm, and everything
must come to an end. The table, the gate, the lease and the Runner's side are the real ones.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from qmtl_worlds.contracts.states import LIVE_STATES
from tests.faults import simulator_actors as actors
from tests.faults.simulator_actors import LEASE, Office, Redis, Runner, Waits, Worker
from tests.faults.simulator_people import People
from tests.faults.simulator_rows import KEYS, NEW_WORLD, OLD_WORLD, BrokenInvariantError, Database, ensure
from tests.faults.simulator_watch import Held, Observer

STORM_SECONDS: Final = 7.0
CALM_SECONDS: Final = 12.0


@dataclass(slots=True)
class Process:
    """Something that runs, can be stopped for a while, and can be killed and started again."""

    name: str
    start: Callable[[], Waits]
    die: Callable[[], None] | None = None
    waits: Waits = field(init=False)
    stopped_until: float = 0.0

    def __post_init__(self) -> None:
        self.waits = self.start()


@dataclass(slots=True)
class Ending:
    """How a schedule ended: how many events it had, and in which states its runs are."""

    events: int
    states: list[str]


class Simulation:
    """One schedule."""

    def __init__(self, seed: int) -> None:
        self.draw = Random(seed)  # noqa: S311 a schedule that replays, not a secret
        database = Database(NEW_WORLD if self.draw.random() < 0.2 else OLD_WORLD)
        self.office = Office(self.draw, database, Redis(database), Observer(database.rows), [])
        self.runners = [Runner(self.office, key, streams=place % 2 == 1) for place, key in enumerate(KEYS[:3])]
        workers = [Worker(self.office) for _ in range(2)]
        self.processes = [
            *(Process(f"worker {place}", worker.work, worker.die) for place, worker in enumerate(workers)),
            Process("projector", lambda: actors.reconcile(self.office)),
            *(Process(f"runner {runner.key.text}", runner.work) for runner in self.runners),
            Process(f"runner {self.runners[1].key.text} asking", self.runners[1].ask),
        ]
        self._people = Process("people", People(self.office).work)
        self._misfortune = Process("misfortune", self._go_wrong)
        self._events = 0
        self._furthest_offset = 0.0
        self._queue: list[tuple[float, float, int, Process]] = []

    def run(self) -> Ending:
        """Let the storm pass, then see that all comes to an end."""
        for process in (*self.processes, self._people, self._misfortune):
            self._plan(process, self.draw.random())
        self._run_until(STORM_SECONDS, calm=False)
        self.office.calm = True
        for process in self.processes:
            process.stopped_until = 0.0
        self._run_until(STORM_SECONDS + CALM_SECONDS + self._set_back(), calm=True)
        ensure("I5/I26", holds=self._is_settled(), says="nothing ends well by itself")
        return Ending(self._events, [row.view.state.value for row in self.office.database.rows.runs.values()])

    def _run_until(self, end: float, *, calm: bool) -> None:
        database = self.office.database
        while self._queue and self._queue[0][0] <= end:
            at, _, _, process = heapq.heappop(self._queue)
            if calm and process in (self._people, self._misfortune):
                continue
            database.true_time = at
            self._events += 1
            if process.stopped_until > at:
                self._plan(process, process.stopped_until - at)
            else:
                self._plan(process, next(process.waits))
                self._check()
            if calm and at > STORM_SECONDS + LEASE and self._is_settled():
                return

    def _plan(self, process: Process, wait: float) -> None:
        entry = (self.office.database.true_time + wait, self.draw.random(), self._events, process)
        heapq.heappush(self._queue, entry)

    def _check(self) -> None:
        now = self.office.database.true_time
        held = [one for runner in self.runners if (one := runner.held(now)) is not None]
        copy = self.office.redis.read()
        if copy is not None:
            held += [Held("Redis", key, weight, copy.position) for key, weight in copy.entries.items()]
        self.office.observer.check(self.office.database.rows, held, now)

    def _is_settled(self) -> bool:
        rows, copy = self.office.database.rows, self.office.redis.read()
        ended = not any(row.view.state in LIVE_STATES for row in rows.runs.values())
        return ended and copy is not None and copy.position == rows.position

    def _go_wrong(self) -> Waits:
        faults = (self._kill_process, self._stop_process, self._wipe, self._fail_over, self._jump, self._repeat)
        while True:
            yield 0.1 + 1.2 * self.draw.random()
            self.office.redis.replica = self.office.redis.master
            yield 0.1 + 0.6 * self.draw.random()
            self.draw.choice(faults)()

    def _kill_process(self) -> None:
        process = self.draw.choice(self.processes)
        if process.die is not None:
            process.die()
        process.waits = process.start()
        process.stopped_until = self.office.database.true_time + self.draw.random()

    def _stop_process(self) -> None:
        process = self.draw.choice(self.processes)
        process.stopped_until = self.office.database.true_time + 6 * self.draw.random()

    def _wipe(self) -> None:
        self.office.redis.master = None

    def _fail_over(self) -> None:
        self.office.redis.master = self.office.redis.replica

    def _jump(self) -> None:
        """The database's clock jumps, as after a correction; every other clock counts on."""
        self.office.database.clock_offset += self.draw.choice((-3.0, 0.5, 3.0, 10.0))

        self._furthest_offset = max(self._furthest_offset, self.office.database.clock_offset)

    def _set_back(self) -> float:
        """Return by how many seconds a time that the database gave may now be further off than was meant."""
        return self._furthest_offset - self.office.database.clock_offset

    def _repeat(self) -> None:
        """Old and forged doorbells ring."""
        runs = list(self.office.database.rows.runs)
        self.office.bells.extend(self.draw.choices(runs, k=2) if runs else ["run-unknown"])


def simulate(seed: int) -> Ending:
    """Run one schedule.

    Raises:
        BrokenInvariantError: with the seed in its text; the same seed gives the same history again.
    """
    try:
        return Simulation(seed).run()
    except BrokenInvariantError as error:
        raise BrokenInvariantError(f"seed {seed}: {error}") from None
