"""The gate as a set of holds (PROTOCOL 1.3, I12): open means that the set is empty.

A hold goes away only by its own kind and owner, so an unfreeze can never clear a circuit or a kill.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from qmtl_worlds.contracts.activation import ActivationReason, GateLevel
from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.states import WorldMode


class HoldKind(StrEnum):
    """What keeps a gate from being open; ``stale`` and ``never_applied`` follow from facts and are never stored."""

    KILL = "kill"
    SUSPENDED = "suspended"
    BOOT = "boot"
    NEVER_APPLIED = "never_applied"
    WITHDRAWN = "withdrawn"
    CIRCUIT = "circuit"
    STALE_RISK = "stale_risk"
    FREEZE = "freeze"
    APPLY = "apply"
    OVERRIDE = "override"
    STALE = "stale"
    AWAITING_FLAT = "awaiting_flat"


class Remover(StrEnum):
    """Who can take a hold away: a run its own, the system by evidence, a Runner by a flat ack, people by role."""

    RUN = "run"
    SYSTEM = "system"
    RUNNER = "runner"
    OPERATOR = "operator"
    APPROVER = "approver"
    RISK = "risk"


@dataclass(frozen=True, slots=True)
class HoldRule:
    """What a kind of hold means: its mildest level, who removes it, and whether it stops increase runs."""

    level: GateLevel
    reason: ActivationReason
    removers: frozenset[Remover]
    stops_increases: bool


def _rule(level: GateLevel, reason: ActivationReason, *removers: Remover, stops: bool) -> HoldRule:
    return HoldRule(level, reason, frozenset(removers), stops)


_PEOPLE: Final = (Remover.OPERATOR, Remover.APPROVER, Remover.RISK)

HOLD_RULES: Final = {
    HoldKind.KILL: _rule(GateLevel.CLOSED, ActivationReason.KILLED, Remover.RISK, stops=True),
    HoldKind.SUSPENDED: _rule(GateLevel.CLOSED, ActivationReason.SUSPENDED, Remover.APPROVER, Remover.RISK, stops=True),
    HoldKind.BOOT: _rule(GateLevel.CLOSED, ActivationReason.BOOT, Remover.RISK, stops=True),
    HoldKind.NEVER_APPLIED: _rule(GateLevel.CLOSED, ActivationReason.NEVER_APPLIED, stops=False),
    HoldKind.WITHDRAWN: _rule(GateLevel.REDUCE_ONLY, ActivationReason.WITHDRAWN, Remover.SYSTEM, stops=False),
    HoldKind.CIRCUIT: _rule(GateLevel.REDUCE_ONLY, ActivationReason.CIRCUIT, Remover.RISK, stops=True),
    HoldKind.STALE_RISK: _rule(GateLevel.REDUCE_ONLY, ActivationReason.STALE_RISK, Remover.SYSTEM, stops=True),
    HoldKind.FREEZE: _rule(GateLevel.REDUCE_ONLY, ActivationReason.FREEZE, *_PEOPLE, stops=True),
    HoldKind.APPLY: _rule(GateLevel.REDUCE_ONLY, ActivationReason.APPLYING, Remover.RUN, stops=False),
    HoldKind.OVERRIDE: _rule(
        GateLevel.REDUCE_ONLY,
        ActivationReason.OVERRIDE,
        Remover.SYSTEM,
        Remover.APPROVER,
        Remover.RISK,
        stops=False,
    ),
    HoldKind.STALE: _rule(GateLevel.REDUCE_ONLY, ActivationReason.STALE, stops=False),
    HoldKind.AWAITING_FLAT: _rule(
        GateLevel.REDUCE_ONLY,
        ActivationReason.AWAITING_FLAT,
        Remover.RUN,
        Remover.RUNNER,
        Remover.RISK,
        stops=False,
    ),
}
"""In the order in which reasons are shown where two holds are equally strict."""

_PRECEDENCE: Final = {kind: place for place, kind in enumerate(HOLD_RULES)}


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold of a world, or of one instance where ``key`` is given; (kind, owner) is unique in a world.

    Raises:
        InputInvalidError: the level is open, which would hold nothing.
    """

    kind: HoldKind
    owner: str
    level: GateLevel
    key: InstanceKey | None = None

    def __post_init__(self) -> None:
        """Refuse a hold that holds nothing."""
        if self.level is GateLevel.OPEN:
            raise InputInvalidError(field="level", reason="must be reduce_only or closed")


@dataclass(frozen=True, slots=True)
class Gate:
    """How far a gate is open, and which hold decides that (None where it is open)."""

    level: GateLevel
    reason: ActivationReason
    hold: Hold | None = None


OPEN_GATE: Final = Gate(GateLevel.OPEN, ActivationReason.ACTIVE)


def make_hold(kind: HoldKind, owner: str, *, key: InstanceKey | None = None, level: GateLevel = GateLevel.OPEN) -> Hold:
    """Return a hold at ``level``, or at the kind's own level where that is stricter."""
    return Hold(kind, owner, max(level, HOLD_RULES[kind].level, key=lambda one: one.strictness), key)


def relax_kill(hold: Hold, *, by: Remover) -> Hold | None:
    """Return a kill that lets exits through, so that a Runner can flatten; None where that is not ``by``'s to allow."""
    if hold.kind is not HoldKind.KILL or by is not Remover.RISK:
        return None
    return replace(hold, level=GateLevel.REDUCE_ONLY)


def may_remove(hold: Hold, *, by: Remover) -> bool:
    """Tell whether ``by`` can take this kind of hold away at all; a run only ever takes away its own."""
    return by in HOLD_RULES[hold.kind].removers


def needs_second_person(kind: HoldKind, mode: WorldMode) -> bool:
    """Tell whether removing such a hold takes two people: circuits and kills of live worlds."""
    return mode is WorldMode.LIVE and kind in {HoldKind.KILL, HoldKind.CIRCUIT}


def own_hold(run_id: str) -> Hold:
    """Return the hold by which an increase run keeps the gate closed."""
    return make_hold(HoldKind.APPLY, run_id)


def add(holds: frozenset[Hold], hold: Hold) -> frozenset[Hold]:
    """Return the set with ``hold``; one of the same kind and owner is replaced by the stricter of the two."""
    same = [one for one in holds if (one.kind, one.owner) == (hold.kind, hold.owner)]
    strictest = max([hold, *same], key=lambda one: one.level.strictness)
    return holds - frozenset(same) | {strictest}


def remove(holds: frozenset[Hold], *, kind: HoldKind, owner: str) -> frozenset[Hold]:
    """Return the set without that one hold; nothing else ever goes with it."""
    return frozenset(one for one in holds if (one.kind, one.owner) != (kind, owner))


def gate_of(holds: Iterable[Hold], *, key: InstanceKey | None = None) -> Gate:
    """Return the gate of one instance, or of the whole world where ``key`` is None.

    The strictest hold decides; of equally strict ones the first kind of ``HOLD_RULES``, then the first owner. Holds of
    other instances do not count.
    """
    binding = [hold for hold in holds if hold.key in {None, key}]
    if not binding:
        return OPEN_GATE
    first = min(binding, key=lambda one: (-one.level.strictness, _PRECEDENCE[one.kind], one.owner))
    return Gate(first.level, HOLD_RULES[first.kind].reason, first)


def increases_stopped_by(holds: Iterable[Hold]) -> HoldKind | None:
    """Return which kind of the world's holds forbids increase runs; the first of ``HOLD_RULES``, None if none does."""
    stopping = {hold.kind for hold in holds if hold.key is None and HOLD_RULES[hold.kind].stops_increases}
    return min(stopping, key=lambda kind: _PRECEDENCE[kind], default=None)


def barred(holds: Iterable[Hold]) -> frozenset[InstanceKey]:
    """Return the instances that were killed, withdrawn or deactivated: they leave the set and may not come in."""
    return frozenset(hold.key for hold in holds if hold.key is not None and hold.kind in _BARRING)


_BARRING: Final = frozenset({HoldKind.KILL, HoldKind.WITHDRAWN, HoldKind.OVERRIDE})
