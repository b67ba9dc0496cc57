"""The apply machine of PROTOCOL 3: one table, read from the top, and the functions that ask it.

The services, the simulator and the explorer all run this table; nothing else decides what a run does next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from qmtl_worlds.contracts.states import LIVE_STATES, TERMINAL_STATES, RunKind, RunState
from qmtl_worlds.lifecycle import actions, guards
from qmtl_worlds.lifecycle.guards import Moment
from qmtl_worlds.lifecycle.run import (
    DEFAULT_TIMINGS,
    CountFenced,
    Effect,
    RunView,
    SetWorkerLease,
    StepFacts,
    StoreResult,
    Timings,
    Transition,
)


class Event(StrEnum):
    """What can happen to a run. ``step`` is the tick or a worker going on; the rest come from people or the clock."""

    STEP = "step"
    APPROVE = "approve"
    REJECT = "reject"
    CANCEL = "cancel"
    EXPIRE = "expire"
    SUPERSEDE = "supersede"
    ABORT = "abort"
    RESUME = "resume"
    TAKE_OVER = "take_over"


Guard = Callable[[Moment], bool]
Action = Callable[[Moment], tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: in ``source``, at ``event``, where all ``guards`` hold, do the ``actions`` and go to ``target``."""

    kind: RunKind
    source: RunState
    event: Event
    guards: tuple[Guard, ...]
    actions: tuple[Action, ...]
    target: RunState
    reason: str


def _increase(
    source: RunState,
    event: Event,
    target: RunState,
    reason: str,
    *,
    when: tuple[Guard, ...] = (),
    do: tuple[Action, ...] = (),
) -> Rule:
    return Rule(RunKind.INCREASE, source, event, when, do, target, reason)


def _refused(source: RunState, *do: Action) -> tuple[Rule, ...]:
    """Return the ways in which a run that may not go on is cancelled, the most telling reason first."""
    return tuple(
        _increase(source, Event.STEP, RunState.CANCELLED, reason, when=(guard,), do=(*do, actions.alert_failed))
        for guard, reason in (
            (guards.unapproved, "approval_lapsed"),
            (guards.base_moved, "stale_base"),
            (guards.policy_changed, "policy_changed"),
            (guards.gains_stale, "stale"),
            (guards.blocked, "blocked"),
        )
    )


def _held(source: RunState, guard: Guard, reason: str, *do: Action) -> Rule:
    return _increase(
        source, Event.STEP, RunState.HELD, reason, when=(guard,), do=(*do, actions.keep_closed, actions.alert_held)
    )


def _take_overs(kind: RunKind, state: RunState) -> tuple[Rule, ...]:
    again = (actions.restart_drain,) if state is RunState.DRAINING else ()
    return (
        Rule(
            kind,
            state,
            Event.TAKE_OVER,
            (guards.worker_died,),
            (actions.claim, actions.count_death, *again),
            state,
            "taken_over",
        ),
        Rule(kind, state, Event.TAKE_OVER, (guards.unowned,), (actions.claim,), state, "claimed"),
    )


_MAY_INCREASE: Final = (
    guards.approved,
    guards.base_current,
    guards.policy_current,
    guards.gains_fresh,
    guards.unblocked,
)

_ENDINGS_UNAPPROVED: Final = (
    (Event.REJECT, "rejected"),
    (Event.CANCEL, "cancelled"),
    (Event.EXPIRE, "expired"),
    (Event.SUPERSEDE, "superseded"),
    (Event.ABORT, "aborted"),
)

_REDUCE: Final = (
    Rule(RunKind.REDUCE, RunState.QUEUED, Event.STEP, (), (actions.switch,), RunState.SWITCHED, "switched"),
    Rule(RunKind.REDUCE, RunState.SWITCHED, Event.STEP, (), (), RunState.DONE, "completed"),
    *_take_overs(RunKind.REDUCE, RunState.QUEUED),
    *_take_overs(RunKind.REDUCE, RunState.SWITCHED),
)

_INCREASE: Final = (
    _increase(RunState.REQUESTED, Event.APPROVE, RunState.QUEUED, "approved", when=(guards.approved,)),
    *(_increase(RunState.REQUESTED, event, RunState.CANCELLED, reason) for event, reason in _ENDINGS_UNAPPROVED),
    _increase(RunState.QUEUED, Event.STEP, RunState.FREEZING, "freezing", when=_MAY_INCREASE, do=(actions.freeze,)),
    *_refused(RunState.QUEUED),
    _increase(RunState.QUEUED, Event.ABORT, RunState.CANCELLED, "aborted", do=(actions.fence,)),
    _held(RunState.FREEZING, guards.overdue, "overdue"),
    _held(RunState.FREEZING, guards.hold_missing, "hold_missing"),
    _increase(RunState.FREEZING, Event.STEP, RunState.DRAINING, "draining", do=(actions.start_drain,)),
    _held(RunState.DRAINING, guards.overdue, "overdue"),
    _held(RunState.DRAINING, guards.hold_missing, "hold_missing"),
    _increase(RunState.DRAINING, Event.STEP, RunState.FROZEN, "drained", when=(guards.drained, guards.watched)),
    _held(RunState.FROZEN, guards.overdue, "overdue"),
    _held(RunState.FROZEN, guards.hold_missing, "hold_missing"),
    _increase(
        RunState.FROZEN,
        Event.STEP,
        RunState.SWITCHED,
        "switched",
        when=(guards.hold_present, guards.drained, *_MAY_INCREASE, guards.set_valid),
        do=(actions.switch,),
    ),
    *_refused(RunState.FROZEN, actions.unfreeze),
    _held(RunState.FROZEN, guards.set_invalid, "set_invalid"),
    _held(RunState.SWITCHED, guards.overdue, "overdue", actions.undo_switch),
    _held(RunState.SWITCHED, guards.hold_missing, "hold_missing", actions.undo_switch),
    _increase(RunState.SWITCHED, Event.STEP, RunState.DONE, "completed", do=(actions.unfreeze,)),
    *(
        _increase(
            state,
            Event.ABORT,
            RunState.ROLLED_BACK,
            "aborted",
            do=(actions.fence, actions.unfreeze, actions.alert_failed),
        )
        for state in (RunState.FREEZING, RunState.DRAINING, RunState.FROZEN, RunState.HELD)
    ),
    _increase(
        RunState.SWITCHED,
        Event.ABORT,
        RunState.ROLLING_BACK,
        "aborted",
        do=(actions.fence, actions.undo_switch, actions.alert_failed),
    ),
    _increase(RunState.ROLLING_BACK, Event.STEP, RunState.ROLLED_BACK, "aborted", do=(actions.unfreeze,)),
    _increase(RunState.HELD, Event.RESUME, RunState.FREEZING, "resumed", do=(actions.keep_closed, actions.start_again)),
    *(rule for state in RunState if state in LIVE_STATES for rule in _take_overs(RunKind.INCREASE, state)),
)

TRANSITIONS: Final[tuple[Rule, ...]] = (*_REDUCE, *_INCREASE)
"""Every way in which a run moves; the first row whose guards hold is taken."""


def initial_state(kind: RunKind, *, needs_approval: bool) -> RunState:
    """Return where a new run starts; a reduce run never waits for anyone."""
    return RunState.REQUESTED if needs_approval and kind is RunKind.INCREASE else RunState.QUEUED


def asks(event: Event, run: RunView, *questions: Guard, now: datetime, timings: Timings) -> bool:
    """Tell whether what ``event`` does to the run can depend on one of ``questions``; no other fact needs reading.

    Nothing is asked below a row that the run is taken by whatever the facts are: one that is overdue is held for a
    person even where approvals, freshness or budgets cannot be read.
    """
    moment = Moment(run, StepFacts.unread(epoch=run.epoch), timings, now)
    for rule in _rules_at(run, event):
        if any(guard in questions for guard in rule.guards):
            return True
        if all(guard in guards.OF_THE_RUN and guard(moment) for guard in rule.guards):
            return False
    return False


def undoes(event: Event, run: RunView, facts: StepFacts, now: datetime, *, timings: Timings) -> bool:
    """Tell whether what ``event`` does to the run undoes its switch, which asks for ``facts.replaced``."""
    undoing = any(actions.undo_switch in rule.actions for rule in _rules_at(run, event))
    rule = _rule_of(event, Moment(run, facts, timings, now)) if undoing else None
    return rule is not None and actions.undo_switch in rule.actions


def next_step(run: RunView, facts: StepFacts, now: datetime, *, timings: Timings = DEFAULT_TIMINGS) -> Transition:
    """Return what the run does next by itself; ``moved`` is false while it waits for time or people.

    A caller with another epoch than the run's is fenced: nothing but a count. One call is one transaction.
    """
    if facts.epoch != run.epoch:
        return Transition(run.state, (CountFenced(),), "fenced", moved=False)
    return fire(Event.STEP, run, facts, now, timings=timings)


def fire(
    event: Event, run: RunView, facts: StepFacts, now: datetime, *, timings: Timings = DEFAULT_TIMINGS
) -> Transition:
    """Return what ``event`` does to the run; total: an event that is not possible in a state moves nothing.

    Approvals are counted before ``approve`` is fired: ``facts.approved`` says whether they are enough. Whether the
    person may do it at all is decided before that (``approval.check_approver``).
    """
    moment = Moment(run, facts, timings, now)
    rule = _rule_of(event, moment)
    if rule is not None:
        return _taken(rule, moment)
    return Transition(run.state, (), "waiting" if event is Event.STEP else "not_possible", moved=False)


def _rules_at(run: RunView, event: Event) -> Iterator[Rule]:
    here = (run.kind, run.state, event)
    return (rule for rule in TRANSITIONS if (rule.kind, rule.source, rule.event) == here)


def _rule_of(event: Event, moment: Moment) -> Rule | None:
    rules = _rules_at(moment.run, event)
    return next((rule for rule in rules if all(guard(moment) for guard in rule.guards)), None)


def _taken(rule: Rule, moment: Moment) -> Transition:
    effects = [effect for action in rule.actions for effect in action(moment)]
    if rule.target in TERMINAL_STATES:
        effects += [StoreResult(rule.target, rule.reason), SetWorkerLease(None)]
    return Transition(rule.target, tuple(effects), rule.reason)


def transition_table() -> str:
    """Return the table as Markdown, for the documents."""
    rows = [
        "| run | state | event | if all of | do | next | reason |",
        "|---|---|---|---|---|---|---|",
    ]
    rows += [_row(rule) for rule in TRANSITIONS]
    return "\n".join(rows) + "\n"


def _row(rule: Rule) -> str:
    asks = ", ".join(guard.__name__ for guard in rule.guards) or "-"
    does = ", ".join(action.__name__ for action in rule.actions) or "-"
    cells = (rule.kind, rule.source, rule.event, asks, does, rule.target, rule.reason)
    return f"| {' | '.join(str(cell) for cell in cells)} |"
