"""Ways to get it wrong (PROTOCOL 5, and one that the simulator found); here is what those about the table change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Final, NamedTuple
from unittest import mock

from qmtl_worlds.contracts.states import RunState
from qmtl_worlds.lifecycle import actions, apply, guards, holds
from qmtl_worlds.lifecycle.apply import Event, Rule
from qmtl_worlds.lifecycle.holds import Hold, HoldKind
from qmtl_worlds.lifecycle.run import DEFAULT_TIMINGS, RunView, StepFacts, Timings, Transition


class Patch(NamedTuple):
    """One attribute of a module or class, and what stands there while the patch is on."""

    place: object
    name: str
    value: object


@contextmanager
def patched(patches: Iterable[Patch]) -> Iterator[None]:
    """Do it wrong for a while."""
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(mock.patch.object(patch.place, patch.name, patch.value))
        yield


def _rules(*changes: Callable[[Rule], Rule | None]) -> Patch:
    """Return the table with every rule changed, or left out where a change gives None."""
    rules: Iterable[Rule] = apply.TRANSITIONS
    for change in changes:
        rules = [after for rule in rules if (after := change(rule)) is not None]
    return Patch(apply, "TRANSITIONS", tuple(rules))


def _remove_all(_holds: frozenset[Hold], *, kind: HoldKind, owner: str) -> frozenset[Hold]:  # noqa: ARG001
    return frozenset()


def _step_unfenced(run: RunView, facts: StepFacts, now: datetime, *, timings: Timings = DEFAULT_TIMINGS) -> Transition:
    return apply.fire(Event.STEP, run, facts, now, timings=timings)


def _draining_at_once(rule: Rule) -> Rule:
    if not {actions.freeze, actions.start_again}.isdisjoint(rule.actions):
        return replace(rule, actions=(*rule.actions, actions.start_drain))
    return replace(rule, actions=tuple(action for action in rule.actions if action is not actions.start_drain))


def _without(*dropped: apply.Guard) -> Callable[[Rule], Rule]:
    return lambda rule: replace(rule, guards=tuple(guard for guard in rule.guards if guard not in dropped))


def _not_taking_over(rule: Rule) -> Rule | None:
    return None if guards.worker_died in rule.guards else rule


TABLE_PATCHES: Final[dict[str, tuple[Patch, ...]]] = {
    "B1": (Patch(holds, "remove", _remove_all),),
    "B2": (Patch(apply, "next_step", _step_unfenced),),
    "B10": (_rules(_draining_at_once, _without(guards.watched)),),
    "B11": (_rules(_without(guards.drained, guards.watched)),),
    "B13": (_rules(_not_taking_over),),
    "B15": (_rules(_without(guards.watched)),),
}

UNDOES: Final = RunState.SWITCHED.value
"""A set that is committed from this state is the one from before."""

MEANINGS: Final = {
    "B1": "the gate is one boolean: an unfreeze clears a circuit",
    "B2": "a step does not check its epoch",
    "B3": "two increase runs may be under way",
    "B4": "the copy in Redis does not expire",
    "B5": "a copy's lease counts from the write, not from the read",
    "B6": "a confirmed write to Redis counts as drained",
    "B7": "a Runner does not remember the revision it has seen",
    "B8": "an undone switch takes the old generation's number",
    "B9": "the copy is written entry by entry",
    "B10": "the drain's clock starts in the freeze's transaction",
    "B11": "the switch does not wait for the drain",
    "B12": "a frame's age is ignored",
    "B13": "nobody takes a dead worker's run over",
    "B14": "Redis is written after commits only, and never compared again",
    "B15": "the drain goes by the database's clock alone, which may jump",
}
