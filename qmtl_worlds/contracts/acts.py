"""Who does something, why, when: travels with every verb into the audit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Act:
    """One act of a person, a token, the schedule or the circuit.

    ``actor`` is ``person:<name>``, ``token:<id>``, ``schedule``, ``circuit`` or ``system``; ``now`` is the time of the
    call (aware UTC, from the world's clock); ``request_id`` ties the audit rows of one request together.
    """

    actor: str
    reason: str
    now: datetime
    request_id: str = ""
