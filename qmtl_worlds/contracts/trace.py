"""One instance's way through an evaluation, stage by stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qmtl_worlds.contracts.reasons import Reason, Stage, StepVerdict


@dataclass(frozen=True, slots=True)
class TraceStep:
    """What one rule said of one instance.

    ``rule`` is the rule in the policy's words. ``value`` and ``threshold`` are what was compared, in the rule's own
    unit; ``margin`` is how far the value is inside (positive) or outside (negative) the rule; None where there is no
    such number. ``blockers`` are the instances that stand in the way, best rank first. ``streak`` of ``needed``
    evaluations on distinct evidence have been counted; ``dwell_left_seconds`` is what remains of the minimum dwell.
    """

    stage: Stage
    verdict: StepVerdict
    reason: Reason
    rule: str = ""
    value: float | None = None
    threshold: float | None = None
    margin: float | None = None
    blockers: tuple[str, ...] = ()
    streak: int | None = None
    needed: int | None = None
    dwell_left_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the step as JSON; what does not apply to it is left out."""
        body = {
            "stage": self.stage.value,
            "verdict": self.verdict.value,
            "reason": self.reason.value,
            "rule": self.rule or None,
            "value": self.value,
            "threshold": self.threshold,
            "margin": self.margin,
            "blockers": list(self.blockers) or None,
            "streak": self.streak,
            "needed": self.needed,
            "dwell_left_seconds": self.dwell_left_seconds,
        }
        return {name: value for name, value in body.items() if value is not None}
