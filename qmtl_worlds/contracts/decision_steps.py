"""From the stored cells of one instance to its trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from qmtl_worlds.contracts.gate_steps import VERDICTS, Facts, Row, gate_steps, present, reason_of
from qmtl_worlds.contracts.reasons import Outcome, Reason, Stage, StepVerdict
from qmtl_worlds.contracts.trace import TraceStep

NOBODY: Final = -1
"""The number of no blocker."""
_INELIGIBLE: Final = frozenset({Reason.SECTOR_MISSING, Reason.LEVERAGE_MISSING})
_COUNTS: Final = frozenset({Reason.TOTAL_FULL, Reason.SIDE_FULL})
_CORRELATIONS: Final = frozenset({Reason.CORRELATED, Reason.CORRELATION_UNKNOWN})


def steps_of(row: Row, facts: Facts) -> tuple[TraceStep, ...]:
    """Return the trace of one instance in the order of the stages."""
    steps = [*_hold(row), _currency(row, facts), _history(row, facts), *gate_steps(row, facts), _score(row, facts)]
    return (*steps, *_selection(row, facts), _hysteresis(row, facts), _weight(row, facts))


def _hold(row: Row) -> tuple[TraceStep, ...]:
    if not row["held"]:
        return ()
    return (TraceStep(Stage.HOLD, StepVerdict.FAIL, Reason.HELD, "not killed, withdrawn or deactivated"),)


def _currency(row: Row, facts: Facts) -> TraceStep:
    rule = f"data no older than {facts['max_lag_seconds']:g} s"
    left = present(row["fresh_until"])
    if left is None:
        return TraceStep(Stage.CURRENCY, StepVerdict.UNKNOWN, Reason.NO_DATA, rule)
    margin = left - facts["now"]
    if margin < 0:
        return TraceStep(Stage.CURRENCY, StepVerdict.UNKNOWN, Reason.STALE, rule, margin=margin)
    return TraceStep(Stage.CURRENCY, StepVerdict.PASS, Reason.OK, rule, margin=margin)


def _history(row: Row, facts: Facts) -> TraceStep:
    days, needed = row["history"], facts["min_history_days"]
    enough = days >= needed
    verdict = StepVerdict.PASS if enough else StepVerdict.UNKNOWN
    reason = Reason.OK if enough else Reason.SHORT_HISTORY
    return TraceStep(Stage.HISTORY, verdict, reason, f"history of {needed} sessions", days, needed, days - needed)


def _score(row: Row, facts: Facts) -> TraceStep:
    score, least, rule = present(row["score"]), facts["min_score"], f"score {facts['score']}"
    if score is None:
        reason = reason_of(row, "score_reason", facts)
        return TraceStep(Stage.SCORE, StepVerdict.UNKNOWN, reason, rule, threshold=least)
    enough = score >= least
    verdict = StepVerdict.PASS if enough else StepVerdict.FAIL
    reason = Reason.OK if enough else Reason.SCORE_BELOW_MINIMUM
    return TraceStep(Stage.SCORE, verdict, reason, rule, score, least, score - least)


def _selection(row: Row, facts: Facts) -> tuple[TraceStep, TraceStep]:
    state = reason_of(row, "state_reason", facts)
    skipped = TraceStep(Stage.TOPK, StepVerdict.SKIPPED, Reason.NOT_REACHED)
    if state in _INELIGIBLE:
        return TraceStep(Stage.CONSTRAINTS, VERDICTS[int(row["state"])], state, RULES[state](facts)), skipped
    if not row["rank"]:
        return TraceStep(Stage.CONSTRAINTS, StepVerdict.SKIPPED, Reason.NOT_REACHED), skipped
    if row["target"]:
        held = TraceStep(Stage.CONSTRAINTS, StepVerdict.PASS, Reason.OK)
        return held, TraceStep(Stage.TOPK, StepVerdict.PASS, Reason.OK, _top(facts), row["rank"])
    reason = reason_of(row, "reject", facts)
    stage = Stage.TOPK if reason in _COUNTS else Stage.CONSTRAINTS
    step = _rejection(row, facts, "reject", stage)
    if stage is Stage.CONSTRAINTS:
        return step, skipped
    return TraceStep(Stage.CONSTRAINTS, StepVerdict.SKIPPED, Reason.NOT_REACHED), step


def _rejection(row: Row, facts: Facts, phase: str, stage: Stage) -> TraceStep:
    """Say which constraint an eligible instance met first; ``phase`` is ``reject`` (target) or ``late`` (final)."""
    reason = reason_of(row, phase, facts)
    value, limit = present(row[f"{phase}_value"]), present(row[f"{phase}_limit"])
    margin = None if value is None or limit is None else limit - value
    blockers = _blockers(row, facts, phase, reason)
    return TraceStep(stage, StepVerdict.FAIL, reason, RULES[reason](facts), value, limit, margin, blockers)


def _blockers(row: Row, facts: Facts, phase: str, reason: Reason) -> tuple[str, ...]:
    members = facts["target" if phase == "reject" else "late"]
    if reason in _CORRELATIONS:
        number = int(row[f"{phase}_blocker"])
        return () if number == NOBODY else (members[number][0],)
    ahead = [member for member in members if phase == "late" or member[1] < row["rank"] or reason is Reason.NOT_OPTIMAL]
    if reason is Reason.SECTOR_CAP:
        number = int(row["sector"])
        ahead = [member for member in ahead if number != NOBODY and member[3] == facts["sectors"][number]]
    elif reason in {Reason.SIDE_FULL, Reason.GROSS_BUDGET}:
        ahead = [member for member in ahead if member[2] == row["side"]]
    return tuple(member[0] for member in ahead)


def _hysteresis(row: Row, facts: Facts) -> TraceStep:
    outcome, reason = OUTCOMES[int(row["outcome"])], reason_of(row, "outcome_reason", facts)
    was_active = bool(row["active"])
    verdict = StepVerdict.PASS if outcome in {Outcome.HOLD, Outcome.PROMOTE} else StepVerdict.FAIL
    late = _rejection(row, facts, "late", Stage.HYSTERESIS) if reason is Reason.NO_ROOM else None
    return TraceStep(
        Stage.HYSTERESIS,
        verdict,
        reason,
        late.rule if late else "",
        late.value if late else None,
        late.threshold if late else None,
        late.margin if late else None,
        late.blockers if late else (),
        int(row["out_streak" if was_active else "in_streak"]),
        facts["demote_after" if was_active else "promote_after"],
        row["dwell_left"],
    )


def _weight(row: Row, facts: Facts) -> TraceStep:
    if not row["after"]:
        return TraceStep(Stage.WEIGHTS, StepVerdict.SKIPPED, Reason.NOT_REACHED)
    reason = reason_of(row, "weight_reason", facts)
    return TraceStep(Stage.WEIGHTS, StepVerdict.PASS, reason, f"weights {facts['weighting']}", row["after"])


def _top(facts: Facts) -> str:
    return f"top {facts['total']}"


OUTCOMES: Final = tuple(Outcome)
"""Outcomes by their number."""

RULES: Final[Mapping[Reason, Callable[[Facts], str]]] = {
    Reason.SECTOR_MISSING: lambda _: "a sector must be known (on_missing_sector: reject)",
    Reason.LEVERAGE_MISSING: lambda _: "leverage must be known (max_leverage is given)",
    Reason.TOTAL_FULL: lambda facts: f"at most {facts['total']} in all",
    Reason.SIDE_FULL: lambda facts: f"at most {facts['by_side'][0]} long and {facts['by_side'][1]} short",
    Reason.CORRELATED: lambda facts: f"no pair above correlation {facts['max_pairwise']:g}",
    Reason.CORRELATION_UNKNOWN: lambda _: "an unknown correlation counts as a conflict",
    Reason.SECTOR_CAP: lambda facts: f"at most {facts['per_sector']:g} of capital in a sector",
    Reason.GROSS_BUDGET: lambda facts: f"at most {facts['gross'][0]:g} long and {facts['gross'][1]:g} short",
    Reason.LEVERAGE_CAP: lambda facts: f"leverage of the set at most {facts['max_leverage']:g}",
    Reason.NOT_OPTIMAL: lambda _: "not part of the best set",
}
"""Each constraint in words, from the facts of the run."""
