"""The database of the simulator: rows in memory, one lock, commits that take their time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn

from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.contracts.plans import EMPTY_SET, ActiveSet, TransitionPlan, active_set
from qmtl_worlds.contracts.states import EXCLUSIVE_STATES, TERMINAL_STATES, RunKind, RunState
from qmtl_worlds.lifecycle import holds as hold_sets
from qmtl_worlds.lifecycle.apply import initial_state
from qmtl_worlds.lifecycle.holds import Hold, HoldKind
from qmtl_worlds.lifecycle.plan import is_reduction
from qmtl_worlds.lifecycle.run import (
    AddHold,
    RemoveHold,
    RunView,
    StepFacts,
    StoreResult,
    Timings,
    Transition,
    carried_out,
    inserted_set,
)

WORLD: Final = "w1"
POLICY: Final = "sha256:policy"
START: Final = datetime(2026, 3, 9, 14, tzinfo=UTC)
KEYS: Final = tuple(InstanceKey(name, Side.LONG) for name in ("ant", "bee", "cat", "dog"))
TIMINGS: Final = Timings(
    lease_seconds=2.0, slack_seconds=0.1, run_deadline_seconds=40.0, worker_lease_seconds=1.5, max_attempts=5
)
NEW_WORLD: Final = {0: EMPTY_SET}
OLD_WORLD: Final = {0: EMPTY_SET, 1: active_set({KEYS[0]: 0.2, KEYS[1]: 0.1})}
IDLE_IN_TRANSACTION_SECONDS: Final = 1.0
_OWN_KINDS: Final = frozenset({HoldKind.APPLY, HoldKind.AWAITING_FLAT})


class BrokenInvariantError(AssertionError):
    """Something happened that must never happen."""


def ensure(invariant: str, *, holds: bool, says: str = "") -> None:
    """Stop the simulation where ``invariant`` does not hold."""
    if not holds:
        broken(invariant, says)


def broken(invariant: str, says: str) -> NoReturn:
    """Stop the simulation: ``invariant`` does not hold."""
    raise BrokenInvariantError(f"{invariant} {says}")


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as it is stored; ``cut`` is the most that each instance may have after what reduce runs did meanwhile."""

    view: RunView
    approved: bool
    result: str = ""
    switched_at: int | None = None
    cut: Mapping[InstanceKey, float] = field(default_factory=dict)

    @property
    def is_live_increase(self) -> bool:
        return self.view.kind is RunKind.INCREASE and self.view.state not in TERMINAL_STATES


@dataclass(frozen=True, slots=True)
class Rows:
    """Everything that is committed at one moment; ``lost`` names proofs that are lacking at present."""

    runs: Mapping[str, RunRow]
    sets: Mapping[int, ActiveSet]
    holds: frozenset[Hold] = frozenset()
    sequence: int = 1
    hold_sequence: int = 0
    outbox: int = 1
    stale: frozenset[InstanceKey] = frozenset()
    lost: frozenset[str] = frozenset()

    @property
    def generation(self) -> int:
        return max(self.sets)

    @property
    def current(self) -> ActiveSet:
        return self.sets[self.generation]

    @property
    def position(self) -> Position:
        return Position(0, self.sequence, self.hold_sequence)

    def with_run(self, row: RunRow) -> Rows:
        return replace(self, runs={**self.runs, row.view.run_id: row})

    def announced(self) -> Rows:
        """Give a visible change its sequence number and its outbox row."""
        return replace(self, sequence=self.sequence + 1, outbox=self.outbox + 1)


class Transaction:
    """Changes that nobody sees yet, made under the world's lock."""

    def __init__(self, rows: Rows, opened: float) -> None:
        self.rows = rows
        self.opened = opened


class Database:
    """The rows, their lock and the clock of the server; ``tell`` hears of each set that an increase run commits."""

    def __init__(self, sets: Mapping[int, ActiveSet]) -> None:
        self.true_time = 0.0
        self.clock_offset = 0.0
        self.rows = Rows({}, sets)
        self._open: Transaction | None = None

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.true_time + self.clock_offset)

    def begin(self) -> Transaction | None:
        """Take the world's lock; None while another has it, unless that one has slept on it."""
        if self._open is not None and self.true_time - self._open.opened < IDLE_IN_TRANSACTION_SECONDS:
            return None
        self._open = Transaction(self.rows, self.true_time)
        return self._open

    def roll_back(self, transaction: Transaction | None) -> None:
        if self._open is transaction:
            self._open = None

    def commit(self, transaction: Transaction) -> bool:
        """Make the changes visible and free the lock; False where the server has ended the transaction."""
        if self._open is not transaction:
            return False
        self._open = None
        self._check(self.rows, transaction.rows)
        self.rows = transaction.rows
        return True

    def kill(self, hold: Hold) -> None:
        """Insert a kill: it waits for no lock, and raises the hold sequence only (I22)."""
        self.rows = _killed(self.rows, hold)
        if self._open is not None:
            self._open.rows = _killed(self._open.rows, hold)

    def _check(self, before: Rows, after: Rows) -> None:
        ensure("I6", holds=after.sequence >= before.sequence, says="the sequence falls")
        ensure("I6", holds=all(after.sets[number] is one for number, one in before.sets.items()), says="a set changes")
        ensure("I19", holds=after.outbox == after.sequence, says="a change without its outbox row")
        live = [row for row in after.runs.values() if row.is_live_increase and row.view.state in EXCLUSIVE_STATES]
        ensure("I3", holds=len(live) <= 1, says="two increase runs at once")
        for run_id, row in before.runs.items():
            ended = row.view.state in TERMINAL_STATES
            ensure("I4", holds=not ended or after.runs[run_id].result == row.result, says=f"{run_id} ended twice")


def step_facts(rows: Rows, row: RunRow, *, epoch: int, watched_seconds: float = 0.0) -> StepFacts:
    """Read what a step may ask, as the services do."""
    replaced = None if row.switched_at is None else rows.sets[row.switched_at - 1]
    return StepFacts(
        epoch=epoch,
        current=rows.current,
        holds=rows.holds,
        policy_checksum="sha256:other" if "policy" in rows.lost else POLICY,
        approved=row.approved and "approval" not in rows.lost,
        admissible=frozenset(KEYS) - rows.stale,
        set_valid="budget" not in rows.lost,
        closed_since=START if rows.generation == 0 else None,
        watched_seconds=watched_seconds,
        replaced=replaced if row.view.state is RunState.SWITCHED else None,
    )


def carry_out(rows: Rows, row: RunRow, view: RunView, transition: Transition) -> Rows:
    """Return the rows after a transition of the run, which has been claimed as ``view`` says."""
    content, generation = inserted_set(transition.effects), rows.generation
    after = replace(row, view=carried_out(view, transition))
    result = next((effect for effect in transition.effects if isinstance(effect, StoreResult)), None)
    if result is not None:
        after = replace(after, result=f"{result.outcome}: {result.reason}")
    if content is not None:
        generation = next_generation(rows, view.state)
        ensure("I6", holds=generation not in rows.sets, says="a generation is used again")
        ensure("I21", holds=_keeps_cuts(row, content), says="what was cut came back")
        after = replace(after, switched_at=generation)
        rows = replace(rows, sets={**rows.sets, generation: content})
    holds = _holds_after(rows.holds, transition)
    ensure("I12", holds=_foreign(holds) == _foreign(rows.holds), says="a run took away a hold that is not its own")
    rows = replace(rows, holds=holds).with_run(after)
    if content is not None and view.kind is RunKind.REDUCE:
        rows = _remember_cuts(rows, content)
    return rows.announced() if transition.visible or after.view.state is not row.view.state else rows


def next_generation(rows: Rows, _state: RunState) -> int:
    """Return the number of the set that is committed next; it only rises, also when a switch is undone (R8)."""
    return rows.generation + 1


def new_run(rows: Rows, run_id: str, kind: RunKind, plan: TransitionPlan) -> Rows:
    """Store a new run; one with increases waits for approval."""
    state = initial_state(kind, needs_approval=True)
    return rows.with_run(RunRow(RunView(run_id, kind, state, plan), approved=False)).announced()


def may_start(rows: Rows, run_id: str) -> bool:
    """Tell whether the partial unique index lets an increase run leave ``requested`` (I3)."""
    others = (row for other, row in rows.runs.items() if other != run_id and row.is_live_increase)
    return not any(row.view.state in EXCLUSIVE_STATES for row in others)


def rehold(rows: Rows, holds: frozenset[Hold]) -> Rows:
    """Return the rows with other holds, one sequence number later."""
    return replace(rows, holds=holds).announced()


def _killed(rows: Rows, hold: Hold) -> Rows:
    return replace(rows, holds=hold_sets.add(rows.holds, hold), hold_sequence=rows.hold_sequence + 1)


def _holds_after(holds: frozenset[Hold], transition: Transition) -> frozenset[Hold]:
    for effect in transition.effects:
        match effect:
            case AddHold(hold):
                holds = hold_sets.add(holds, hold)
            case RemoveHold(kind, owner):
                holds = hold_sets.remove(holds, kind=kind, owner=owner)
            case _:
                pass
    return holds


def _foreign(holds: frozenset[Hold]) -> frozenset[Hold]:
    return frozenset(hold for hold in holds if hold.kind not in _OWN_KINDS)


def _keeps_cuts(row: RunRow, content: ActiveSet) -> bool:
    return all(content.weights.get(key, 0.0) <= most for key, most in row.cut.items())


def _remember_cuts(rows: Rows, content: ActiveSet) -> Rows:
    """Note what the reduce run took away, for each increase run that is under way."""
    before = rows.sets[rows.generation - 1]
    ensure("SEMANTICS 0.5", holds=is_reduction(before, content), says="a reduce run permits more")
    cut = {key: content.weights.get(key, 0.0) for key, weight in before.weights.items()}
    cut = {key: most for key, most in cut.items() if most < before.weights[key]}
    for row in rows.runs.values():
        if row.is_live_increase:
            rows = rows.with_run(replace(row, cut={**row.cut, **cut}))
    return rows
