"""The catalog of alerts: what each says, how soon somebody should look, what to do, and when it is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Severity(StrEnum):
    """How soon somebody should look."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Ending(StrEnum):
    """What ends an alert: its condition is over, a person took note of it, or it only tells that something was."""

    CONDITION = "condition"
    ACKNOWLEDGED = "acknowledged"
    AT_ONCE = "at_once"


@dataclass(frozen=True, slots=True)
class AlertKind:
    """One kind. ``subject`` says what its alerts name: each subject has one open alert of the kind at most."""

    severity: Severity
    ending: Ending
    subject: str
    text: str
    advice: str


def _info(subject: str, text: str, advice: str) -> AlertKind:
    return AlertKind(Severity.INFO, Ending.AT_ONCE, subject, text, advice)


def _warning(subject: str, text: str, advice: str) -> AlertKind:
    return AlertKind(Severity.WARNING, Ending.CONDITION, subject, text, advice)


def _critical(subject: str, text: str, advice: str) -> AlertKind:
    return AlertKind(Severity.CRITICAL, Ending.CONDITION, subject, text, advice)


CATALOG: Final[Mapping[str, AlertKind]] = MappingProxyType(
    {
        "promotion": _info("run", "A run let instances in.", "Nothing; the facts name them."),
        "demotion": _info("run", "A run took instances out.", "Nothing; the facts name them."),
        "apply_failed": AlertKind(
            Severity.WARNING,
            Ending.ACKNOWLEDGED,
            "run",
            "A run ended without doing what it planned.",
            "Read why on the run's page; the next evaluation asks again.",
        ),
        "run_held": _critical(
            "run",
            "A run stopped half-way, with the gates closed to orders that increase risk.",
            "Resume the run, or abort it to go back.",
        ),
        "apply_slow": _warning(
            "run",
            "A run stays in one state for longer than it should.",
            "Look whether the tick runs and the database answers.",
        ),
        "evaluation_slow": _warning(
            "run", "An evaluation takes longer than it should.", "Look whether the workers of the queue compute run."
        ),
        "circuit_warned": _warning(
            "measure", "A risk figure came near its limit.", "Reduce before the circuit does it for you."
        ),
        "circuit_tripped": _critical(
            "incident",
            "A risk figure broke its limit: the world is halted.",
            "Find out why, then reset the circuit; in a live world that takes two people.",
        ),
        "circuit_reset": _info("incident", "The circuit was reset.", "Nothing; the audit says by whom and why."),
        "risk_input_stale": _warning(
            "world",
            "The risk circuit cannot see: no equity snapshot and no complete bar came in time.",
            "Bring the snapshots or the returns back; the circuit trips if they stay away.",
        ),
        "data_stale": _warning(
            "instance",
            "The data of an active instance is stale; it takes exits only.",
            "Bring its returns back, or unbind it.",
        ),
        "approval_waiting": AlertKind(
            Severity.INFO,
            Ending.CONDITION,
            "run, policy or reopening",
            "Something waits for a second person.",
            "Approve it or reject it.",
        ),
        "approval_stale": _warning(
            "run, policy or reopening",
            "Something has waited long for a second person.",
            "Approve it or reject it; a run that nobody approves expires.",
        ),
        "awaiting_flat_overdue": _warning(
            "instance",
            "A position was not confirmed flat by its deadline.",
            "Ask whoever runs the strategy; confirm it, or waive the wait.",
        ),
        "override_stays_closed": _warning(
            "instance",
            "An override is over, but its instance is not selected: it stays closed.",
            "End the override by hand once the instance may trade again.",
        ),
        "runner_lost": _warning(
            "client", "A Runner has not been heard of for several leases.", "Look whether it runs and reaches us."
        ),
        "drift": _warning(
            "world",
            "Redis held something else than the rows, again and again.",
            "Find out who writes to the keys of this world.",
        ),
    }
)
"""By kind. Kinds are for ever: add, never rename."""
