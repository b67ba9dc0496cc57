"""Explore every state that the small world can reach, and check the invariants in each.

Breadth first, so that a counter-example is as short as there is one. It also asks of each state whether, without any
further fault or act, everything can still come to an end (I5) with Redis equal to the rows (I26).
"""

from __future__ import annotations

import gc
from array import array
from collections.abc import Callable
from dataclasses import dataclass

from formal.invariants import is_settled, violation
from formal.smallworld import SmallWorld
from formal.states import Scope, State, canonical


@dataclass(frozen=True, slots=True)
class Report:
    """What an exploration has found; ``trace`` is how to get to the violation, one line an event."""

    states: int
    transitions: int
    complete: bool
    violation: str = ""
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the counter-example, or what was covered."""
        covered = f"{self.states:,} states, {self.transitions:,} transitions, complete: {self.complete}"
        if not self.violation:
            return f"{covered}, 0 errors"
        steps = [f"{number:3}. {line}" for number, line in enumerate(self.trace, start=1)]
        return "\n".join([self.violation, *steps, covered])


class _Search:
    """States by number, each with the one that it was first reached from."""

    def __init__(self, start: State) -> None:
        self.number_of = {start: 0}
        self.states = [start]
        self.parents = array("l", [-1])
        self.labels = [""]
        self.sources = array("l")
        self.targets = array("l")
        self.transitions = 0

    def reach(self, source: int, label: str, state: State) -> tuple[int, bool]:
        """Return the state's number, and whether it is new."""
        number = self.number_of.setdefault(state, len(self.states))
        if number < len(self.states):
            return number, False
        self.states.append(state)
        self.parents.append(source)
        self.labels.append(label)
        return number, True

    def trace(self, number: int) -> tuple[str, ...]:
        """Return the events that lead to a state."""
        lines: list[str] = []
        while number:
            lines.append(self.labels[number])
            number = self.parents[number]
        return tuple(reversed(lines))

    def report(self, *, complete: bool, wrong: str = "", trace: tuple[str, ...] = ()) -> Report:
        return Report(len(self.states), self.transitions, complete, wrong, trace)


def explore(scope: Scope, *, most_states: int = 1_000_000, check_ends: bool = True) -> Report:
    """Explore the world of ``scope`` until all is known, ``most_states`` are, or something is wrong.

    Ends (I5, I26) are checked only where everything was explored. The collector of cycles is off meanwhile: there are
    none, and it would look at every state again and again.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        return _explore(scope, most_states, check_ends=check_ends)
    finally:
        if was_on:
            gc.enable()


def _explore(scope: Scope, most_states: int, *, check_ends: bool) -> Report:
    world = SmallWorld(scope)
    search = _Search(canonical(world.start()))
    number = 0
    while number < len(search.states):
        if len(search.states) > most_states:
            return search.report(complete=False)
        state = search.states[number]
        for move in world.moves(state):
            search.transitions += 1
            after = canonical(move.after)
            target, is_new = search.reach(number, move.label, after)
            wrong = move.wrong or (violation(after, scope.lease) if is_new else "")
            if wrong:
                return search.report(complete=False, wrong=wrong, trace=(*search.trace(number), move.label))
            if move.helps and target != number:
                search.sources.append(number)
                search.targets.append(target)
        number += 1
    return _check_ends(search, lambda state: is_settled(state, scope)) if check_ends else search.report(complete=True)


def _check_ends(search: _Search, is_good: Callable[[State], bool]) -> Report:
    """Go backwards from the states in which all is well; whoever is not met is stuck."""
    starts, before = _backwards(search)
    met = bytearray(is_good(state) for state in search.states)
    waiting = [number for number, is_met in enumerate(met) if is_met]
    while waiting:
        number = waiting.pop()
        for source in before[starts[number] : starts[number + 1]]:
            if not met[source]:
                met[source] = 1
                waiting.append(source)
    stuck = met.find(0)
    if stuck < 0:
        return search.report(complete=True)
    wrong = "I5/I26: from here on nothing ends well by itself"
    return search.report(complete=True, wrong=wrong, trace=search.trace(stuck))


def _backwards(search: _Search) -> tuple[array[int], array[int]]:
    """Return the states that lead to each state: those of ``n`` stand from ``starts[n]`` to ``starts[n + 1]``."""
    count = len(search.states)
    starts = array("l", [0]) * (count + 1)
    for target in search.targets:
        starts[target + 1] += 1
    for number in range(count):
        starts[number + 1] += starts[number]
    places, before = array("l", starts), array("l", [0]) * len(search.targets)
    for source, target in zip(search.sources, search.targets, strict=True):
        before[places[target]] = source
        places[target] += 1
    return starts, before


_CRASH = frozenset({"crash"})

EVERY_TIME = (
    Scope(redis=False, faults=0, acts=2),
    Scope(redis=False, faults=1, acts=1, workers=2, fault_kinds=_CRASH),
    Scope(redis=False, faults=2, acts=0, workers=2, fault_kinds=_CRASH),
    Scope(redis=False, faults=2, acts=0, lease=2, fault_kinds=_CRASH),
    Scope(redis=False, faults=0, acts=1, increases=2),
    Scope(redis=False, faults=0, acts=1, flat=True),
    Scope(redis=False, faults=0, acts=0, frames=True),
    Scope(faults=1, acts=0),
)
"""What is explored completely each time the tests run: over 150,000 states together."""

EXTENDED = (
    Scope(redis=False, faults=1, acts=1, increases=2, workers=2, fault_kinds=_CRASH),
    Scope(redis=False, faults=1, acts=2, fault_kinds=_CRASH),
    Scope(faults=1, acts=1, act_kinds=frozenset({"abort", "kill"})),
)
"""Larger worlds, for a run that may take minutes."""
