"""What must hold of one transition of a run, whatever led to it."""

from __future__ import annotations

from typing import Final

from formal.rows import BEE, CAT, HOLDING, HOLDS, INCREASE, NO_HOLDS, SETS, Outcome, Truth, permitted, run_id
from qmtl_worlds.contracts.states import RunState
from qmtl_worlds.lifecycle.holds import Hold, HoldKind, increases_stopped_by, own_hold

_OWN_KINDS: Final = frozenset({HoldKind.APPLY, HoldKind.AWAITING_FLAT})


def wrong_with(truth: Truth, index: int, outcome: Outcome) -> str:
    """Return what is wrong with a transition, "" where nothing is."""
    before, after, holds = truth.runs[index], outcome.run, HOLDS[outcome.holds]
    is_increase, is_new = after.kind == INCREASE, outcome.content != truth.content
    checks = {
        "I6: the generation does not rise": is_new and outcome.generations < 1,
        "I12: a run took away a hold that is not its own": _others(holds) != _others(HOLDS[truth.holds]),
        "I1: the run's own hold and its state disagree": is_increase
        and (own_hold(run_id(index)) in holds) != (after.state in HOLDING),
        "I9: switched without proof": is_increase
        and after.state == RunState.SWITCHED != before.state
        and not _is_proven(truth, index, outcome),
        "I21: what was cut came back": is_new and before.cut and BEE in SETS[outcome.content].weights,
        "SEMANTICS 0.5: a reduce run permits more": not is_increase
        and bool(permitted(outcome.content, NO_HOLDS) & ~permitted(truth.content, NO_HOLDS)),
    }
    return next((name for name, is_wrong in checks.items() if is_wrong), "")


def _is_proven(truth: Truth, index: int, outcome: Outcome) -> bool:
    gains_cat = CAT in SETS[outcome.content].weights and CAT not in SETS[truth.content].weights
    lacks = truth.lost in {"policy", "budget"} or (truth.lost == "stale" and gains_cat)
    return truth.runs[index].approved and not lacks and increases_stopped_by(HOLDS[truth.holds]) is None


def _others(holds: frozenset[Hold]) -> frozenset[Hold]:
    return frozenset(hold for hold in holds if hold.kind not in _OWN_KINDS)
