"""The real transition table, asked about the small world's rows.

It is asked once for each different question, since it is a pure function.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import inf
from typing import Final

from formal.rows import ANT, BEE, CAT, HOLDS, PLANS, POLICY, SETS, Outcome, Run, Truth, run_id
from formal.transitions import wrong_with
from qmtl_worlds.contracts.lease import CLOCK_DRIFT
from qmtl_worlds.contracts.states import RunKind, RunState
from qmtl_worlds.lifecycle import apply
from qmtl_worlds.lifecycle import holds as hold_sets
from qmtl_worlds.lifecycle.apply import Event
from qmtl_worlds.lifecycle.run import (
    AddHold,
    BumpEpoch,
    RemoveHold,
    RunView,
    StepFacts,
    Timings,
    Transition,
    carried_out,
    inserted_set,
)

NOW: Final = datetime(2026, 3, 9, 14, tzinfo=UTC)
TICK: Final = timedelta(seconds=1)
MOST_DEATHS: Final = 1


class Machine:
    """The real transition table, asked about numbered rows. Make a new one after the table was changed.

    ``lease`` is in ticks. There is no slack: the drain is exactly as long, so that one tick less is an error.
    """

    def __init__(self, lease: int, *, flat: bool) -> None:
        """Start with nothing remembered; ``flat`` is a position policy that wants everyone flat."""
        self._flat = flat
        self._timings = Timings(
            lease_seconds=lease / (1 + CLOCK_DRIFT),
            slack_seconds=0.0,
            run_deadline_seconds=1e6,
            worker_lease_seconds=1.0,
            max_attempts=MOST_DEATHS,
        )
        self._known: dict[tuple[object, ...], Outcome] = {}

    def ask(self, truth: Truth, index: int, event: Event, *, current_epoch: bool = True) -> Outcome:
        """Return what ``event`` does to a run; ``current_epoch`` is false where a zombie steps."""
        run = truth.runs[index]
        question = (run, index, truth.content, truth.holds, truth.lost, event, current_epoch)
        if question not in self._known:
            outcome = self._answer(truth, index, event, epoch=1 if current_epoch else 0)
            self._known[question] = outcome._replace(wrong=wrong_with(truth, index, outcome))
        return self._known[question]

    def _answer(self, truth: Truth, index: int, event: Event, *, epoch: int) -> Outcome:
        run = truth.runs[index]
        view = _view(run, index, flat=self._flat)
        facts = StepFacts(
            epoch=epoch,
            current=SETS[truth.content],
            holds=HOLDS[truth.holds],
            policy_checksum="sha256:other" if truth.lost == "policy" else POLICY,
            approved=run.approved,
            admissible=frozenset({ANT, BEE} if truth.lost == "stale" else {ANT, BEE, CAT}),
            set_valid=truth.lost != "budget",
            watched_seconds=inf,
            replaced=None if run.switched_from is None else SETS[run.switched_from],
        )
        if event is Event.STEP:
            transition = apply.next_step(view, facts, NOW, timings=self._timings)
        else:
            transition = apply.fire(event, view, facts, NOW, timings=self._timings)
        return _outcome(truth, run, carried_out(view, transition), transition)


def _view(run: Run, index: int, *, flat: bool) -> RunView:
    return RunView(
        run_id=run_id(index),
        kind=RunKind(run.kind),
        state=RunState(run.state),
        plan=PLANS[run.plan],
        epoch=1,
        attempts=run.attempts,
        drain_until=_time(run.drain),
        deadline_at=None if run.deadline is None else NOW + (2 * run.deadline - 1) * TICK,
        worker_lease_until=_time(run.lease),
        flat_on_promote=flat,
        flat_on_demote=flat,
    )


def _outcome(truth: Truth, run: Run, after: RunView, transition: Transition) -> Outcome:
    content = inserted_set(transition.effects)
    switched_from = truth.content if after.state is RunState.SWITCHED else run.switched_from
    return Outcome(
        run=run._replace(
            state=after.state.value,
            attempts=min(after.attempts, MOST_DEATHS + 1),
            drain=_ticks(after.drain_until),
            deadline=None if after.deadline_at is None else int(after.deadline_at > NOW),
            lease=_ticks(after.worker_lease_until),
            switched_from=switched_from if after.state is RunState.SWITCHED else None,
        ),
        content=truth.content if content is None else SETS.of(content),
        holds=_holds_after(truth.holds, transition),
        moved=transition.moved,
        fences=any(isinstance(effect, BumpEpoch) for effect in transition.effects),
        visible=transition.visible or after.state != run.state,
        generations=0 if content is None else generations_of(run.state),
        reason=transition.reason,
    )


def generations_of(_state: str) -> int:
    """Return by how much a set that is committed in a state raises the generation: it is always the next one (R8)."""
    return 1


def _holds_after(holds: int, transition: Transition) -> int:
    after = HOLDS[holds]
    for effect in transition.effects:
        if isinstance(effect, AddHold):
            after = hold_sets.add(after, effect.hold)
        elif isinstance(effect, RemoveHold):
            after = hold_sets.remove(after, kind=effect.kind, owner=effect.owner)
    return HOLDS.of(after)


def _time(ticks: int | None) -> datetime | None:
    return None if ticks is None else NOW + ticks * TICK


def _ticks(at: datetime | None) -> int | None:
    return None if at is None else max(0, -((NOW - at) // TICK))
