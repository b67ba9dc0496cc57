"""What an evaluation may come to: drawn, and made to fit what is bound and what stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.plans import ChangeReason, active_set
from qmtl_worlds.lifecycle.holds import barred
from tests.faults.stateful_rows import KEYS, Decision, Rows

WEIGHTS: Final = (0.0, 0.1, 0.2, 0.25)


@dataclass(frozen=True, slots=True)
class Wish:
    """The weights that somebody would like, and who fails: True leaves for cause, False stays where it is in."""

    weights: Mapping[InstanceKey, float]
    fails: Mapping[InstanceKey, bool] = field(default_factory=dict)
    ok: bool = True

    def decided(self, rows: Rows) -> Decision:
        """Return the decision, as an evaluation of the world at hand could come to it."""
        before, out = rows.set_of(rows.generation).weights, barred(rows.held)
        there = [key for key in KEYS if (one := rows.bound(key)) is not None and one.wanted and key not in out]
        after = {key: self._weight(key, before.get(key, 0.0)) for key in there}
        after = {key: weight for key, weight in after.items() if weight}
        left = [key for key in before if key not in after]
        reasons = tuple((key, self._why(key, there)) for key in sorted(left))
        waits = {key for key, why in reasons if why is ChangeReason.OUTRANKED}
        kept = {key: weight if key in waits else min(weight, after.get(key, 0.0)) for key, weight in before.items()}
        ranks = tuple(key for key in there if key not in self.fails)
        return Decision(active_set(after), active_set(kept), ranks, reasons, self.ok)

    def _weight(self, key: InstanceKey, before: float) -> float:
        if key not in self.fails and self.ok:
            return self.weights.get(key, 0.0)
        return 0.0 if self.fails.get(key, False) else min(before, self.weights.get(key, before) or before)

    def _why(self, key: InstanceKey, there: list[InstanceKey]) -> ChangeReason:
        if key not in there:
            return ChangeReason.WITHDRAWN
        return ChangeReason.GATE_FAIL if key in self.fails else ChangeReason.OUTRANKED


def wishes() -> SearchStrategy[Wish]:
    """Draw what an evaluation comes to; one in ten decides nothing that increases."""
    return st.builds(
        Wish,
        weights=st.fixed_dictionaries({key: st.sampled_from(WEIGHTS) for key in KEYS}),
        fails=st.dictionaries(st.sampled_from(KEYS), st.booleans(), max_size=2),
        ok=st.sampled_from((True,) * 9 + (False,)),
    )
