"""The observer of the simulator: it knows the whole truth, and every answer that anybody acts on must agree with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from qmtl_worlds.contracts.activation import ActivationEnvelope, GateLevel
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.lease import CLOCK_DRIFT, Position
from qmtl_worlds.contracts.plans import ActiveSet
from qmtl_worlds.contracts.states import EffectiveMode, RunKind, RunState, WorldMode
from qmtl_worlds.lifecycle.gate import EntryFacts, WorldFacts, answer
from qmtl_worlds.lifecycle.holds import Hold, gate_of
from tests.faults.simulator_rows import KEYS, START, TIMINGS, WORLD, Rows, RunRow, broken, ensure

DRAINED: Final = frozenset({RunState.FROZEN, RunState.SWITCHED})
LIFE: Final = TIMINGS.lease_seconds * (1 + CLOCK_DRIFT)
"""How long any permission may be acted on, in true seconds."""


@dataclass(frozen=True, slots=True)
class Held:
    """A permission that somebody acts on now; ``age`` is in true seconds since it was asked for."""

    who: str
    key: InstanceKey
    weight: float
    position: Position
    age: float = 0.0


class Observer:
    """What was true at each position, and since when it is not any more."""

    def __init__(self, rows: Rows) -> None:
        self.ledger: dict[Position, Mapping[InstanceKey, float]] = {rows.position: rows.current.weights}
        self._era_at = {rows.position: 0}
        self._permitted_until = dict.fromkeys(KEYS, float("-inf"))

    def saw(self, before: Rows, after: Rows, at: float) -> None:
        """Note a change of the rows."""
        for key in self.ledger[before.position]:
            self._permitted_until[key] = at
        era = self._era_at[before.position]
        if after.generation != before.generation and _by_increase(before, after):
            era += 1
        permitted = {key: weight for key, weight in after.current.weights.items() if _is_open(after.holds, key)}
        known = self.ledger.setdefault(after.position, permitted)
        ensure("I6", holds=known == permitted, says="two truths at one position")
        self._era_at[after.position] = era

    def runner_took(self, who: str, before: Position, after: Position) -> None:
        """Note that a Runner has renewed what it holds."""
        if after < before:
            broken("I6", f"{who} went back to an older answer")

    def check(self, rows: Rows, held: list[Held], now: float) -> None:
        """Compare every permission that is alive with what is and was true."""
        eras = set()
        permitted = self.ledger[rows.position]
        for one in held:
            eras.add(self._era_at[one.position])
            shut = 0.0 if one.key in permitted else now - self._permitted_until[one.key]
            if shut > LIFE:
                broken("I1b", f"{one.who} may trade {one.key.text} {shut:.2f} s after the close")
            if self.ledger[one.position].get(one.key) != one.weight:
                broken("I2", f"{one.who} was told what no committed set says")
            if one.age > LIFE:
                broken("I8", f"{one.who} goes by an answer from {one.age:.2f} s ago")
        if held and any(_is_drained(row) for row in rows.runs.values()):
            broken("I1c", f"{held[0].who} may trade {held[0].key.text} after the drain")
        if len(eras) > 1:
            broken("I2", "permissions of two sets at one instant")


def envelope_of(rows: Rows, key: InstanceKey) -> ActivationEnvelope:
    """Return what the API says of an instance, by the real gate."""
    return _envelope(rows.position, rows.generation, rows.current, rows.holds, key)


@lru_cache(maxsize=4096)
def _envelope(
    position: Position, generation: int, content: ActiveSet, holds: frozenset[Hold], key: InstanceKey
) -> ActivationEnvelope:
    world = WorldFacts(
        world_id=WORLD,
        mode=WorldMode.PAPER,
        effective_mode=EffectiveMode.PAPER,
        has_applied_set=generation > 0,
        holds=holds,
        position=position,
        generation=generation,
        run_id="",
        changed_at=START,
        state_hash=position.text,
    )
    entry = EntryFacts(key, bound=True, weight=content.weights.get(key, 0.0), fresh_until=START)
    return answer(entry, world, START)


def _is_open(holds: frozenset[Hold], key: InstanceKey) -> bool:
    return gate_of(holds, key=key).level is GateLevel.OPEN


def _is_drained(row: RunRow) -> bool:
    return row.view.state in DRAINED and row.view.kind is RunKind.INCREASE


def _by_increase(before: Rows, after: Rows) -> bool:
    """Tell whether the new set came by an increase run: one that switched, or was undone."""
    moved = [row for run_id, row in after.runs.items() if row.switched_at != before.runs[run_id].switched_at]
    return any(row.view.kind is RunKind.INCREASE for row in moved)
