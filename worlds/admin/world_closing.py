"""How far a world is closed, committed and in effect, and the four ways to close it further."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from qmtl_worlds.contracts.activation import ActivationReason, GateLevel
from qmtl_worlds.lifecycle.gate import WorldFacts, world_gate
from qmtl_worlds.lifecycle.holds import Hold, HoldKind
from worlds.admin.badges import Badge, Tone, badge
from worlds.admin.words import GATE_REASONS, WHAT_PASSES, clock_time, moment
from worlds.models import World
from worlds.services.closings import Closing


@dataclass(frozen=True, slots=True)
class GateView:
    """The gate of the world in words.

    ``committed_at`` is since when it is so in the rows, empty for an open gate. ``left_seconds`` is how long a
    permission from before may still live somewhere, 0 where none does any more.
    """

    badge: Badge
    reason: str
    passes: str
    committed_at: str
    effective_at: str
    left_seconds: float
    heard: str


@dataclass(frozen=True, slots=True)
class StopView:
    """One way to close: whether it is in force, what passes under it, and the buttons that put it on and take it off.

    ``buttons`` names them; the page shows those that the person may press.
    """

    name: str
    state: Badge
    tone: Tone
    says: str
    buttons: tuple[str, ...]


_HEARD: Final[Mapping[bool | None, str]] = {
    True: "Every Runner that is known has said that it heard.",
    False: "Not every Runner has said that it heard.",
    None: "",
}


def gate_view(facts: WorldFacts, closing: Closing, now: datetime) -> GateView:
    """Return the gate at ``now``, the database's time."""
    gate = world_gate(facts)
    holder = f" ({gate.hold.owner})" if gate.hold and gate.reason is ActivationReason.APPLYING else ""
    effective_at = closing.effective_at
    return GateView(
        badge=badge(gate.level.value),
        reason=GATE_REASONS[gate.reason] + holder,
        passes=WHAT_PASSES[gate.level],
        committed_at=moment(closing.committed_at) if closing.committed_at else "",
        effective_at=clock_time(effective_at) if effective_at else "",
        left_seconds=max(0.0, (effective_at - now).total_seconds()) if effective_at else 0.0,
        heard=_HEARD[closing.acknowledged] if effective_at else "",
    )


def stops_of(world: World, holds: Iterable[Hold]) -> tuple[StopView, ...]:
    """Return the ways to close the world, the mildest first; each is taken back by itself."""
    whole = [hold for hold in holds if hold.key is None]
    frozen = any(hold.kind is HoldKind.FREEZE for hold in whole)
    kills = [hold for hold in whole if hold.kind is HoldKind.KILL]
    return (
        _stop(
            "Pause",
            "What is active trades on, and reductions go on. No increase starts by itself.",
            ("pause", "resume"),
            on=world.paused,
        ),
        _stop(
            "Freeze",
            "Only orders that reduce risk pass: exits, stops. The active set is kept.",
            ("freeze", "unfreeze", "reopen-gate"),
            on=frozen,
        ),
        _stop(
            "Suspend",
            "No order passes, exits are blocked too. The active set is kept.",
            ("suspend", "take-up"),
            on=world.state == World.State.SUSPENDED,
            tone="bad",
        ),
        _stop(
            "Kill",
            _kill_words(kills),
            ("let-exits-through", "lift-kill") if kills else ("kill",),
            on=bool(kills),
            tone="bad",
        ),
    )


def _stop(name: str, says: str, buttons: tuple[str, ...], *, on: bool, tone: Tone = "warn") -> StopView:
    return StopView(name, Badge("on", tone) if on else Badge("off", "calm"), tone if on else "calm", says, buttons)


def _kill_words(kills: list[Hold]) -> str:
    if not kills:
        return "No order passes, exits are blocked too, and nothing may come in until the kill is lifted."
    if any(hold.level is GateLevel.CLOSED for hold in kills):
        return "No order passes. Exits are blocked too: the role risk can let them through while the kill stays."
    return "Exits pass, so that positions can be closed. Nothing else does until the kill is lifted."
