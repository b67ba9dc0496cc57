"""What the codes of gates, plans and runs mean, for whoever has to act on them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from qmtl_worlds.contracts.activation import ActivationReason, GateLevel
from qmtl_worlds.contracts.plans import ChangeKind, ChangeReason
from qmtl_worlds.contracts.states import EffectiveMode, RunKind, RunState

ABSENT: Final = "\N{EN DASH}"
"""Stands where there is nothing to show."""

_WHOLE_FROM: Final = 9.95

GATE_REASONS: Final[Mapping[ActivationReason, str]] = {
    ActivationReason.ACTIVE: "nothing holds it",
    ActivationReason.UNKNOWN: "it was never bound to this world",
    ActivationReason.KILLED: "a kill holds it",
    ActivationReason.SUSPENDED: "the world is archived or suspended",
    ActivationReason.BOOT: "the system has just been restored and waits for the risk role",
    ActivationReason.NEVER_APPLIED: "no approved set has ever been applied here",
    ActivationReason.MODE: "the world may only compute or validate now",
    ActivationReason.WITHDRAWN: "it was withdrawn from the world",
    ActivationReason.CIRCUIT: "the risk circuit has tripped",
    ActivationReason.STALE_RISK: "the risk figures are stale",
    ActivationReason.FREEZE: "an operator froze the world",
    ActivationReason.APPLYING: "an apply is under way; it reopens when that is done",
    ActivationReason.OVERRIDE: "an operator's override holds it",
    ActivationReason.NOT_SELECTED: "it is not in the active set",
    ActivationReason.STALE: "its data are too old",
    ActivationReason.AWAITING_FLAT: "its Runner has not yet reported a flat position",
    ActivationReason.EXPIRED: "nothing was heard for longer than the lease",
    ActivationReason.UNCONFIRMED: "its state could not be confirmed",
}

WHAT_PASSES: Final[Mapping[GateLevel, str]] = {
    GateLevel.OPEN: "Orders of the active strategies pass.",
    GateLevel.REDUCE_ONLY: "Only orders that reduce risk pass. Nothing can be opened or increased.",
    GateLevel.CLOSED: "No order passes, exits included.",
}

EFFECTIVE_MODES: Final[Mapping[EffectiveMode, str]] = {
    EffectiveMode.COMPUTE_ONLY: "no policy, no fresh data, or the circuit is open: decisions are computed, not used",
    EffectiveMode.VALIDATE: "decisions are checked only, until a first approved set is applied",
    EffectiveMode.PAPER: "orders go to paper venues",
    EffectiveMode.LIVE: "orders go to live venues",
    EffectiveMode.SHADOW: "decisions run beside another system and permit nothing",
    EffectiveMode.REPLAY: "history is replayed by a clock of its own",
}

CHANGES: Final[Mapping[ChangeKind, str]] = {
    ChangeKind.PROMOTE: "comes in",
    ChangeKind.DEMOTE: "leaves",
    ChangeKind.RAISE: "more weight",
    ChangeKind.CUT: "less weight",
}

CHANGE_REASONS: Final[Mapping[ChangeReason, str]] = {
    ChangeReason.SELECTED: "selected by the policy",
    ChangeReason.OUTRANKED: "better ranked strategies took its place",
    ChangeReason.GATE_FAIL: "fails a gate",
    ChangeReason.WITHDRAWN: "withdrawn from the world",
    ChangeReason.KILLED: "killed",
    ChangeReason.CAP: "a cap leaves no room",
    ChangeReason.RESIZED: "resized by the policy",
    ChangeReason.ROLLBACK: "going back to a past set",
    ChangeReason.OPERATOR: "named by the operator",
}

RUN_STATES: Final[Mapping[RunState, str]] = {
    RunState.REQUESTED: "Nothing has changed yet.",
    RunState.QUEUED: "Approved; about to freeze the world.",
    RunState.FREEZING: "The world is frozen: only exits pass.",
    RunState.DRAINING: "Waiting until no old permission can still be in use: only exits pass.",
    RunState.FROZEN: "Nobody holds an old permission; about to switch.",
    RunState.SWITCHED: "The new set is in place; about to open.",
    RunState.DONE: "Done: the new set trades.",
    RunState.CANCELLED: "Ended before it changed anything.",
    RunState.ROLLING_BACK: "Taking back what it changed: only exits pass.",
    RunState.ROLLED_BACK: "Taken back: the set is what it was before.",
    RunState.HELD: "Stopped in the middle. Only exits pass until a person resumes it or rolls it back.",
}

STEPS: Final[Mapping[RunKind, tuple[RunState, ...]]] = {
    RunKind.REDUCE: (RunState.QUEUED, RunState.SWITCHED, RunState.DONE),
    RunKind.INCREASE: (
        RunState.REQUESTED,
        RunState.QUEUED,
        RunState.FREEZING,
        RunState.DRAINING,
        RunState.FROZEN,
        RunState.SWITCHED,
        RunState.DONE,
    ),
}
"""The way of a run that nothing disturbs."""

STEP_WORDS: Final[Mapping[RunState, str]] = {
    RunState.REQUESTED: "approval",
    RunState.QUEUED: "queued",
    RunState.FREEZING: "freeze",
    RunState.DRAINING: "drain",
    RunState.FROZEN: "frozen",
    RunState.SWITCHED: "switch",
    RunState.DONE: "done",
}


def share(weight: float) -> str:
    """Return a share of capital as a percentage with at most two decimals."""
    return f"{round(weight * 100, 2):g} %"


def moment(at: datetime | None) -> str:
    """Return a time in UTC to the second; a dash where there is none."""
    return ABSENT if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def clock_time(at: datetime) -> str:
    """Return the time of day in UTC to the second."""
    return f"{at:%H:%M:%S} UTC"


def ago(at: datetime | None, *, now: datetime) -> str:
    """Return how long ago something was, or how far ahead it is, in one unit."""
    if at is None:
        return "never"
    seconds = (now - at).total_seconds()
    length = span(abs(seconds))
    return f"{length} ago" if seconds >= 0 else f"in {length}"


def span(seconds: float) -> str:
    """Return a length of time in its largest fitting unit, with one decimal under ten of them."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count = seconds / size
        if count >= 1:
            return f"{count:.0f} {unit}" if count >= _WHOLE_FROM else f"{round(count, 1):g} {unit}"
    return "0 s"


def person_name(actor: str) -> str:
    """Return an actor as people read it: ``person:bob`` is bob."""
    return actor.removeprefix("person:")


def moment_of(text: str) -> str:
    """Return a time that was stored as ISO-8601 text, in UTC to the second."""
    return moment(datetime.fromisoformat(text))
