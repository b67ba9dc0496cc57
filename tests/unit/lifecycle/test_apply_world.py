"""A world in memory that carries out the table's effects while readers, people and dying workers interfere.

Every walk is drawn from its seed, so a failing one replays; the model of PROTOCOL in small, over the real table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random

import pytest

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.plans import ActiveSet, ChangeReason, active_set
from qmtl_worlds.contracts.states import HOLDING_STATES, TERMINAL_STATES, RunState
from qmtl_worlds.lifecycle.apply import Event, fire, next_step
from qmtl_worlds.lifecycle.holds import Hold, HoldKind, add, barred, gate_of, make_hold, own_hold, remove
from qmtl_worlds.lifecycle.plan import apply_reduce, is_reduction
from qmtl_worlds.lifecycle.run import AddHold, InsertSet, RemoveHold, RunView, StepFacts, Transition, carried_out
from tests.unit.lifecycle.runs import ANT, BEE, CAT, NOW, SWAP, good_facts, plan_of, run_in

LEASE = timedelta(seconds=5)
CUT_ANT = plan_of(active_set({ANT: 0.1}), active_set({ANT: 0.05}))
DROP_BEE = plan_of(active_set({BEE: 0.1}), active_set({}), bee=ChangeReason.KILLED)
CIRCUIT = make_hold(HoldKind.CIRCUIT, "w1")


@dataclass
class World:
    """One increase run that swaps bee for cat; readers act on what they were permitted for a whole lease."""

    now: datetime = NOW
    run: RunView = field(default_factory=lambda: replace(run_in(RunState.QUEUED), drain_until=None, deadline_at=None))
    current: ActiveSet = SWAP.before
    holds: frozenset[Hold] = frozenset()
    permitted: dict[InstanceKey, datetime] = field(default_factory=dict)
    cut: bool = False
    dead_epoch: int | None = None

    def facts(self) -> StepFacts:
        return replace(good_facts(self.run, current=self.current), holds=self.holds)

    def carry_out(self, transition: Transition) -> None:
        self.run = carried_out(self.run, transition)
        for effect in transition.effects:
            match effect:
                case AddHold(hold):
                    self.holds = add(self.holds, hold)
                case RemoveHold(kind, owner):
                    self.holds = remove(self.holds, kind=kind, owner=owner)
                case InsertSet(content):
                    assert all(until <= self.now for until in self.permitted.values()), (
                        "I1c: switched under a permission"
                    )
                    self.current = content
                case _:
                    pass

    def pass_time(self) -> None:
        self.now += timedelta(seconds=1)

    def read(self) -> None:
        for key in self.current.weights:
            if gate_of(self.holds, key=key).hold is None:
                self.permitted[key] = self.now + LEASE

    def step(self) -> None:
        self.carry_out(next_step(self.run, self.facts(), self.now))

    def work_and_die(self) -> None:
        self.carry_out(fire(Event.TAKE_OVER, self.run, self.facts(), self.now))
        self.dead_epoch = self.run.epoch

    def wake_as_zombie(self) -> None:
        if self.dead_epoch not in {None, self.run.epoch}:
            before = (self.run, self.holds, self.current)
            self.carry_out(next_step(self.run, replace(self.facts(), epoch=self.dead_epoch or 0), self.now))
            assert (self.run, self.holds, self.current) == before, "I6: a zombie changed something"

    def abort(self) -> None:
        self.carry_out(fire(Event.ABORT, self.run, self.facts(), self.now))

    def resume(self) -> None:
        self.carry_out(fire(Event.RESUME, self.run, self.facts(), self.now))

    def cut_ant(self) -> None:
        self.current, self.cut = apply_reduce(CUT_ANT, self.current), True

    def kill_bee(self) -> None:
        self.holds = add(self.holds, make_hold(HoldKind.KILL, "bob:bee", key=BEE))
        self.current = apply_reduce(DROP_BEE, self.current)

    def trip(self) -> None:
        self.holds = add(self.holds, CIRCUIT)

    def be_late(self) -> None:
        self.now += timedelta(minutes=6)

    def check(self, *, tripped: bool) -> None:
        assert (own_hold("run-1") in self.holds) == (self.run.state in HOLDING_STATES), "hold and state disagree"
        assert (CIRCUIT in self.holds) == tripped, "I12: the run touched a circuit"
        assert not barred(self.holds) & self.current.weights.keys(), "I21: a killed instance came back"
        assert not self.cut or self.current.weights.get(ANT, 0) <= 0.05, "a cut was undone"
        switched = self.run.state in {RunState.SWITCHED, RunState.DONE}
        assert is_reduction(SWAP.after if switched else SWAP.before, self.current), "I2: a mixed set"
        alive = {key for key, until in self.permitted.items() if until > self.now}
        assert not {BEE, CAT} <= alive, "I2: permissions of two generations"


ACTIONS: tuple[tuple[Callable[[World], None], int], ...] = (
    (World.step, 30),
    (World.pass_time, 60),
    (World.read, 15),
    (World.work_and_die, 3),
    (World.wake_as_zombie, 3),
    (World.cut_ant, 1),
    (World.kill_bee, 1),
    (World.abort, 1),
    (World.resume, 2),
    (World.trip, 1),
    (World.be_late, 1),
)


def walk(seed: int, *, steps: int = 60) -> World:
    draw, world = Random(seed), World()  # noqa: S311 a walk that replays, not a secret
    actions, weights = zip(*ACTIONS, strict=True)
    for action in draw.choices(actions, weights, k=steps):
        tripped = CIRCUIT in world.holds or action is World.trip
        action(world)
        world.check(tripped=tripped)
    return world


@pytest.mark.parametrize("block", range(8))
def test_random_walk_keeps_the_invariants(block: int) -> None:
    ends = Counter(walk(seed).run.state for seed in range(block * 100, block * 100 + 100))

    assert ends[RunState.DONE] > 10
    assert ends.keys() > TERMINAL_STATES
