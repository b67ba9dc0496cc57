"""Why an instance is active or not, in words that fit on one screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from qmtl_worlds.contracts.decision_record import RecordedDecision
from qmtl_worlds.contracts.reasons import Outcome, Reason, Stage, StepVerdict
from qmtl_worlds.contracts.trace import TraceStep

_BLOCKERS_SHOWN: Final = 6
_MARKS: Final = {
    StepVerdict.PASS: "ok",
    StepVerdict.FAIL: "FAIL",
    StepVerdict.UNKNOWN: "UNKNOWN",
    StepVerdict.SKIPPED: "-",
}
_UNITS: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))

_HEADLINES: Final[Mapping[Outcome, str]] = {
    Outcome.HOLD: "{key} stays active at {weight}: {why}.",
    Outcome.PROMOTE: "{key} becomes active at {weight}: {why}.",
    Outcome.DEMOTE: "{key} leaves the active set: {why}.",
    Outcome.QUEUED: "{key} is not active yet: {why}.",
    Outcome.OUT: "{key} is not active: {why}.",
}

WORDS: Final[Mapping[Reason, str]] = {
    Reason.OK: "nothing stands in the way",
    Reason.NOT_REACHED: "an earlier rule has settled it",
    Reason.HELD: "it is killed, withdrawn or deactivated",
    Reason.STALE: "its data are too old",
    Reason.NO_DATA: "no data have come for it",
    Reason.SHORT_HISTORY: "its history is too short for its metrics to count",
    Reason.GATE_FAILED: "it fails a gate",
    Reason.METRIC_INSUFFICIENT: "a metric has too few observations",
    Reason.METRIC_UNDEFINED: "a metric is undefined for its returns",
    Reason.METRIC_STALE: "a metric is stale",
    Reason.METRIC_MISSING: "a metric has not been reported",
    Reason.DIVISION_BY_ZERO: "an expression divides by zero",
    Reason.NOT_FINITE: "an expression is not finite",
    Reason.SCORE_BELOW_MINIMUM: "its score is below the minimum",
    Reason.SECTOR_MISSING: "its sector is not known, and the policy rejects that",
    Reason.LEVERAGE_MISSING: "its leverage is not known, and the policy caps leverage",
    Reason.TOTAL_FULL: "better ranked instances fill every slot",
    Reason.SIDE_FULL: "better ranked instances fill the slots of its side",
    Reason.CORRELATED: "it moves too much like a better ranked instance",
    Reason.CORRELATION_UNKNOWN: "its correlation with a better ranked instance is not known",
    Reason.SECTOR_CAP: "its sector would hold too much of the capital",
    Reason.GROSS_BUDGET: "its side would hold more than its budget",
    Reason.LEVERAGE_CAP: "the set would be levered too high",
    Reason.NOT_OPTIMAL: "the best set does without it",
    Reason.PROMOTED: "it is in the target for long enough",
    Reason.KEPT: "it is in the target",
    Reason.KEPT_BY_STREAK: "it is out of the target, but not for long enough to be demoted",
    Reason.KEPT_BY_DWELL: "it is out of the target, but has not been active for the minimum time",
    Reason.KEPT_UNKNOWN: "it cannot be judged now, and nobody is demoted for that",
    Reason.STREAK_SHORT: "it is in the target, but not for long enough yet",
    Reason.COOLING_DOWN: "it is in the target, but was demoted too short a time ago",
    Reason.NO_ROOM: "it is in the target, but members that stay leave no room for it",
    Reason.KEPT_OVER_CAPS: "members that stay break a cap by themselves, so nobody is promoted",
    Reason.QUEUED_CHANGE_BUDGET: "this run may not make more changes; it waits for the next one",
    Reason.OUTRANKED: "better ranked instances have taken its place for long enough",
    Reason.SCALED_SIDE: "scaled down to the budget of its side",
    Reason.SCALED_SECTOR: "scaled down to the cap of its sector",
    Reason.SCALED_LEVERAGE: "scaled down to the leverage cap",
    Reason.MAX_WEIGHT: "cut to the largest weight of one instance",
    Reason.NO_RAISE: "not raised, since nothing proves now that it may carry more",
    Reason.WITHIN_BAND: "left as it is, since the change is within the band",
    Reason.INCONCLUSIVE: "half or more of the active instances cannot be judged, so nothing that raises risk is done",
    Reason.CIRCUIT_OPEN: "the risk circuit has tripped, so nothing that raises risk is done",
    Reason.NOTHING_FRESH: "no instance has fresh data",
    Reason.NO_APPLIED_SET: "no approved set has been applied yet",
    Reason.NO_POLICY: "the world has no policy in force",
}
"""Each reason as half a sentence."""


def explain(recorded: RecordedDecision) -> str:
    """Return the decision about one instance in words: the outcome, the first rule in the way, then every stage.

    At most about thirty lines; figures are rounded to four digits.
    """
    lines = [_headline(recorded), _standing(recorded)]
    if obstacle := first_obstacle(recorded.steps):
        lines += ["", f"First rule in the way: {_step(obstacle)}"]
    lines += ["", *(_line(step) for step in recorded.steps)]
    return "\n".join(line.rstrip() for line in lines)


def first_obstacle(steps: tuple[TraceStep, ...]) -> TraceStep | None:
    """Return the first step that stands in the way, None where nothing does.

    A condition that fails beside another one that is enough (``or``) does not.
    """
    for step in steps:
        if step.verdict in {StepVerdict.FAIL, StepVerdict.UNKNOWN} and step.reason is not Reason.OK:
            return step
    return None


def _headline(recorded: RecordedDecision) -> str:
    weight = f"{100 * recorded.weight:.4g} % of capital"
    return _HEADLINES[recorded.outcome].format(key=recorded.key, weight=weight, why=WORDS[recorded.reason])


def _standing(recorded: RecordedDecision) -> str:
    facts = recorded.facts
    rank = "not ranked" if recorded.rank is None else f"rank {recorded.rank}"
    score = "no score" if recorded.score is None else f"score {recorded.score:.4g}"
    before = f"held {100 * recorded.weight_before:.4g} % before" if recorded.active else "not active before"
    return f"World {facts['world_id']}, policy version {facts['policy_version']}: {rank}, {score}, {before}."


def _line(step: TraceStep) -> str:
    return f"  {step.stage.value:<11} {_MARKS[step.verdict]:<8} {_detail(step)}"


def _step(step: TraceStep) -> str:
    return f"{step.stage.value}: {_detail(step)}"


def _detail(step: TraceStep) -> str:
    parts = [step.rule, _figures(step), "" if step.reason in {Reason.OK, Reason.NOT_REACHED} else WORDS[step.reason]]
    parts += [_blockers(step.blockers), _memory(step)]
    return "; ".join(part for part in parts if part)


def _figures(step: TraceStep) -> str:
    if step.stage is Stage.CURRENCY:
        return "" if step.margin is None else f"{_length(abs(step.margin))} {'left' if step.margin >= 0 else 'too old'}"
    if step.value is None:
        return ""
    if step.stage is Stage.WEIGHTS:
        return f"{100 * step.value:.4g} % of capital"
    if step.threshold is None:
        return f"{step.value:.4g}"
    against = f"{step.value:.4g} against {step.threshold:.4g}"
    if step.margin is None:
        return against
    return f"{against}, {abs(step.margin):.4g} {'to spare' if step.verdict is StepVerdict.PASS else 'off'}"


def _blockers(blockers: tuple[str, ...]) -> str:
    if not blockers:
        return ""
    more = f" and {len(blockers) - _BLOCKERS_SHOWN} more" if len(blockers) > _BLOCKERS_SHOWN else ""
    return f"blocked by {', '.join(blockers[:_BLOCKERS_SHOWN])}{more}"


def _memory(step: TraceStep) -> str:
    if step.streak is None:
        return ""
    streak = f"streak {step.streak} of {step.needed}"
    return f"{streak}, {_length(step.dwell_left_seconds)} of dwell left" if step.dwell_left_seconds else streak


def _length(seconds: float) -> str:
    """Return a length of time in its largest fitting unit."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds:.4g} s"
