"""The states of runs and worlds, and the words that clients see for them."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class RunState(StrEnum):
    """Where an apply run is; stored as it is, shown as ``wire_word`` says."""

    REQUESTED = "requested"
    QUEUED = "queued"
    FREEZING = "freezing"
    DRAINING = "draining"
    FROZEN = "frozen"
    SWITCHED = "switched"
    DONE = "done"
    CANCELLED = "cancelled"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    HELD = "held"


TERMINAL_STATES: Final = frozenset({RunState.DONE, RunState.CANCELLED, RunState.ROLLED_BACK})
"""Nothing leaves these; a held run is not among them, since a person resumes it or rolls it back."""

LIVE_STATES: Final = frozenset(RunState) - TERMINAL_STATES - {RunState.REQUESTED, RunState.HELD}
"""What the tick advances by itself."""

EXCLUSIVE_STATES: Final = frozenset(RunState) - TERMINAL_STATES - {RunState.REQUESTED}
"""At most one increase run of a world is in one of these (I3)."""

HOLDING_STATES: Final = EXCLUSIVE_STATES - {RunState.QUEUED}
"""An increase run in one of these owns the hold ``apply:<run_id>``."""

_WIRE_WORDS: Final = {
    RunState.REQUESTED: "awaiting_approval",
    RunState.QUEUED: "requested",
    RunState.FREEZING: "freeze",
    RunState.DRAINING: "drain",
    RunState.FROZEN: "drain",
    RunState.SWITCHED: "unfreeze",
    RunState.DONE: "completed",
}


def wire_word(state: RunState) -> str:
    """Return the phase that the API shows for ``state``."""
    return _WIRE_WORDS.get(state, state.value)


class RunKind(StrEnum):
    """A reduce run only takes permissions away and waits for nothing; an increase run is the two-phase apply."""

    REDUCE = "reduce"
    INCREASE = "increase"


class WorldState(StrEnum):
    """Whether a world is in use; the words of the API."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    DELETED = "DELETED"


class OpState(StrEnum):
    """What a world is busy with."""

    STEADY = "steady"
    EVALUATING = "evaluating"
    APPLYING = "applying"


class WorldMode(StrEnum):
    """What a world was made for."""

    PAPER = "paper"
    LIVE = "live"
    SHADOW = "shadow"
    REPLAY = "replay"


class EffectiveMode(StrEnum):
    """What a world may do now: its mode, or less."""

    COMPUTE_ONLY = "compute-only"
    VALIDATE = "validate"
    PAPER = "paper"
    LIVE = "live"
    SHADOW = "shadow"
    REPLAY = "replay"
