"""What people, the clock and the market do to the rows, and what a run's own step does to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from formal.machine import Machine
from formal.rows import (
    BEE,
    CIRCUIT,
    EXCLUSIVE,
    FREEZE,
    HOLDS,
    INCREASE,
    KILL,
    REDUCE,
    SETS,
    TERMINAL,
    Outcome,
    Run,
    Truth,
    failing_plan,
    new_plan,
    with_hold,
    without_hold,
)
from qmtl_worlds.contracts.states import RunState
from qmtl_worlds.lifecycle.apply import Event
from qmtl_worlds.lifecycle.holds import HoldKind

ACTS: Final = frozenset(
    {
        "abort",
        "budget",
        "cancel",
        "circuit",
        "freeze",
        "gate_fail",
        "kill",
        "lapse",
        "overdue",
        "policy",
        "resume",
        "stale",
    }
)
_PROOFS: Final = frozenset({"budget", "policy", "stale"})
_HOLDS: Final = {"freeze": FREEZE, "circuit": CIRCUIT}


class Happening(NamedTuple):
    """One event and the rows after it; ``costs`` is 1 where it counts as an act of its own."""

    label: str
    truth: Truth
    costs: int
    outcome: Outcome | None = None
    run: int = -1


class Events:
    """Everything that is done to the rows by others than workers."""

    def __init__(self, machine: Machine, kinds: frozenset[str], goals: tuple[int, ...]) -> None:
        """Allow the acts named by ``kinds``, and as many increase runs as there are ``goals``."""
        self._machine = machine
        self._kinds = kinds
        self._goals = goals
        self._known: dict[tuple[Truth, bool, bool], list[Happening]] = {}

    def possible(self, truth: Truth, *, locked: bool, acts: int) -> list[Happening]:
        """Return what may happen; while a worker holds the world's lock only a kill can (I22)."""
        question = (truth, locked, acts > 0)
        if question not in self._known:
            self._known[question] = list(self._possible(truth, self._kinds if acts else frozenset(), locked=locked))
        return self._known[question]

    def _possible(self, truth: Truth, kinds: frozenset[str], *, locked: bool) -> Iterator[Happening]:
        if "kill" in kinds and KILL not in HOLDS[truth.holds]:
            yield Happening("somebody kills the world", killed(truth), 1)
        if locked:
            return
        for index, run in enumerate(truth.runs):
            if run.state not in TERMINAL:
                yield from self._about_run(truth, index, run, kinds)
        yield from _about_world(truth, kinds)
        yield from self._requests(truth)

    def _about_run(self, truth: Truth, index: int, run: Run, kinds: frozenset[str]) -> Iterator[Happening]:
        if run.state == RunState.REQUESTED and may_start(truth, index):
            approved = _with_run(truth, index, run._replace(approved=True))
            yield from self._fired(approved, index, Event.APPROVE, costs=0)
        for event in (Event.CANCEL, Event.ABORT, Event.RESUME):
            if event.value in kinds:
                yield from self._fired(truth, index, event, costs=1)
        if "lapse" in kinds and run.approved:
            yield Happening(
                f"the approval of run {index} lapses", _with_run(truth, index, run._replace(approved=False)), 1
            )
        if "overdue" in kinds and run.deadline:
            yield Happening(f"run {index} is overdue", _with_run(truth, index, run._replace(deadline=0)), 1)

    def _fired(self, truth: Truth, index: int, event: Event, *, costs: int) -> Iterator[Happening]:
        outcome = self._machine.ask(truth, index, event)
        if outcome.moved:
            after = carried_out(truth, index, outcome)
            yield Happening(f"somebody fires {event} at run {index}", after, costs, outcome, index)

    def _requests(self, truth: Truth) -> Iterator[Happening]:
        made = sum(run.kind == INCREASE for run in truth.runs)
        if made == len(self._goals) or self._goals[made] == truth.content or not may_start(truth, -1):
            return
        runs = list(truth.runs)
        for index, run in enumerate(runs):
            if run.state == RunState.REQUESTED:
                runs[index] = ended(self._machine.ask(truth, index, Event.SUPERSEDE).run)
        runs.append(Run(INCREASE, RunState.REQUESTED.value, new_plan(truth.content, self._goals[made])))
        after = truth._replace(runs=tuple(runs), revision=truth.revision + 1)
        yield Happening("somebody requests another increase", after, 0)


def _about_world(truth: Truth, kinds: frozenset[str]) -> Iterator[Happening]:
    yield from _about_holds(truth, kinds)
    if truth.lost:
        yield Happening(f"the {truth.lost} is as it was", truth._replace(lost=""), 0)
    else:
        for proof in kinds & _PROOFS:
            yield Happening(f"a proof is lost: {proof}", truth._replace(lost=proof), 1)
    reduces = any(run.kind == REDUCE for run in truth.runs)
    if "gate_fail" in kinds and not reduces and BEE in SETS[truth.content].weights:
        run = Run(REDUCE, RunState.QUEUED.value, failing_plan(truth.content))
        yield Happening("bee fails a gate", truth._replace(runs=(*truth.runs, run), revision=truth.revision + 1), 1)


def _about_holds(truth: Truth, kinds: frozenset[str]) -> Iterator[Happening]:
    held = HOLDS[truth.holds]
    for name, hold in _HOLDS.items():
        if hold not in held and name in kinds:
            yield Happening(f"a {name} is put", _rehold(truth, with_hold(truth.holds, hold)), 1)
    for hold in held:
        if hold.kind is not HoldKind.APPLY:
            yield Happening(f"{hold.kind} {hold.owner} is lifted", _rehold(truth, without_hold(truth.holds, hold)), 0)


def may_start(truth: Truth, index: int) -> bool:
    """Tell whether the store lets run ``index`` leave ``requested``: the partial unique index (I3)."""
    others = (run for place, run in enumerate(truth.runs) if place != index and run.kind == INCREASE)
    return not any(run.state in EXCLUSIVE for run in others)


def killed(truth: Truth) -> Truth:
    """Return the rows after a kill: one INSERT that raises the hold sequence and nothing else."""
    return truth._replace(holds=with_hold(truth.holds, KILL), kills=truth.kills + 1)


def carried_out(truth: Truth, index: int, outcome: Outcome) -> Truth:
    """Return the rows after a run's transition: its row, the set, the holds, and one revision more if any sees it."""
    runs = list(truth.runs)
    runs[index] = ended(outcome.run) if outcome.run.state in TERMINAL else outcome.run
    if outcome.run.kind == REDUCE and outcome.content != truth.content:
        runs = [run._replace(cut=True) if _is_under_way(run) else run for run in runs]
    return truth._replace(
        runs=tuple(runs),
        content=outcome.content,
        holds=outcome.holds,
        revision=truth.revision + outcome.visible,
    )


def ended(run: Run) -> Run:
    """Return all that matters of a run that has ended."""
    return Run(run.kind, run.state, 0)


def _is_under_way(run: Run) -> bool:
    return run.kind == INCREASE and run.state not in TERMINAL


def _rehold(truth: Truth, holds: int) -> Truth:
    return truth._replace(holds=holds, revision=truth.revision + 1)


def _with_run(truth: Truth, index: int, run: Run) -> Truth:
    return truth._replace(runs=(*truth.runs[:index], run, *truth.runs[index + 1 :]))
