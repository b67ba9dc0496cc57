"""Who moved which run: one increase at a time, and under one epoch one process only."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from qmtl_worlds.contracts.states import EXCLUSIVE_STATES, RunKind
from torture.history import Step
from torture.ledger import Violation

_EXCLUSIVE: Final = frozenset(state.value for state in EXCLUSIVE_STATES)


class Fences:
    """Judges moves in the order in which they were committed."""

    def __init__(self) -> None:
        """Start with no run."""
        self._writers: dict[tuple[str, str, int], str] = {}
        self._under_way: dict[str, set[str]] = defaultdict(set)
        self.violations: list[Violation] = []
        self.taken_over = 0

    def step(self, step: Step) -> None:
        """Take in one move."""
        self._check_alone(step)
        if step.epoch == 0:
            return
        owner = self._writers.setdefault((step.world_id, step.run_id, step.epoch), step.writer)
        if owner != step.writer:
            told = {"step": str(step), "owner": owner}
            self.violations.append(Violation("I6", step.world_id, "a fenced process moved a run", told))

    def _check_alone(self, step: Step) -> None:
        """Hold the world to one increase run that is approved and has not ended (I3)."""
        if step.kind != RunKind.INCREASE:
            return
        under_way = self._under_way[step.world_id]
        if step.state in _EXCLUSIVE:
            under_way.add(step.run_id)
        else:
            under_way.discard(step.run_id)
        if len(under_way) > 1:
            told = {"runs": ", ".join(sorted(under_way)), "step": str(step)}
            self.violations.append(Violation("I3", step.world_id, "two increases are under way", told))
