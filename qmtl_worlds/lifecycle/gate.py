"""The answer for one instance: a total function that denies by default (I13)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from qmtl_worlds.contracts.activation import ActivationEnvelope, ActivationReason, GateLevel, envelope_etag
from qmtl_worlds.contracts.digests import digest
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.contracts.states import EffectiveMode, WorldMode
from qmtl_worlds.lifecycle.holds import Gate, Hold, HoldKind, gate_of, make_hold
from qmtl_worlds.lifecycle.override import DRAIN_OWNER

_TRADING: Final = frozenset({EffectiveMode.PAPER, EffectiveMode.LIVE, EffectiveMode.REPLAY})
"""Replay worlds trade history; a gate before a paper or live venue refuses their answers, since modes must match."""


@dataclass(frozen=True, slots=True)
class WorldFacts:
    """What is committed for a world at one position; ``holds`` has those of the world and of all its instances.

    ``changed_at`` is when ``position`` was reached. ``confirmed`` is false where the rows could not be confirmed for a
    whole lease; then ``on_expiry`` bounds the answer.
    """

    world_id: str
    mode: WorldMode
    effective_mode: EffectiveMode
    has_applied_set: bool
    holds: frozenset[Hold]
    position: Position
    generation: int
    run_id: str
    changed_at: datetime
    state_hash: str
    confirmed: bool = True
    on_expiry: GateLevel = GateLevel.REDUCE_ONLY


@dataclass(frozen=True, slots=True)
class EntryFacts:
    """What is committed for one instance; each default is the closed side.

    ``bound`` is true for what is or was bound to the world; ``weight`` is its share in the applied set, 0 where it is
    not in it; ``cap`` an operator's limit on that; ``fresh_until`` the last instant at which its data is fresh, None
    where it has none.
    """

    key: InstanceKey
    bound: bool = False
    weight: float = 0.0
    cap: float = 1.0
    fresh_until: datetime | None = None


def answer(entry: EntryFacts, world: WorldFacts, now: datetime) -> ActivationEnvelope:
    """Return the envelope for one instance at ``now`` (the world's clock).

    Active only where nothing at all speaks against it. Of several grounds the strictest decides, and of equally strict
    ones the first of: unknown, holds in the order of ``HOLD_RULES``, mode, unconfirmed, not selected, override,
    stale. An instance that is known but may not trade can still reduce what it holds. The same facts give the same body
    and ETag at any ``now``, until the data turns stale.
    """
    ((gate, weight),) = gates([entry], world, now)
    held = {(hold.kind, hold.owner) for hold in world.holds if hold.key in {None, entry.key}}
    kinds = {kind for kind, _ in held}
    envelope = ActivationEnvelope(
        world_id=world.world_id,
        strategy_id=entry.key.strategy_id,
        side=entry.key.side,
        active=gate.level is GateLevel.OPEN,
        weight=weight,
        freeze=bool(kinds & {HoldKind.FREEZE, HoldKind.APPLY}),
        drain=HoldKind.APPLY in kinds or (HoldKind.FREEZE, DRAIN_OWNER) in held,
        gate=gate.level,
        mode=world.mode.value,
        effective_mode=world.effective_mode.value,
        reason=gate.reason.value,
        etag="",
        generation=world.generation,
        sequence=world.position.sequence,
        run_id=world.run_id,
        ts=_changed_at(entry, world, now),
        state_hash=world.state_hash,
        on_lease_expiry=max(world.on_expiry, GateLevel.REDUCE_ONLY, key=lambda level: level.strictness),
    )
    return replace(envelope, etag=envelope_etag(world.position, envelope.to_json()))


def gates(entries: Iterable[EntryFacts], world: WorldFacts, now: datetime) -> Iterator[tuple[Gate, float]]:
    """Yield the gate of each instance at ``now``, and its share of capital: 0 unless the gate is open."""
    held = {hold.key for hold in world.holds}
    common = tuple(_world_grounds(world, None))
    for entry in entries:
        grounds = _world_grounds(world, entry.key) if entry.key in held else common
        gate = _strictest((*_unknown(entry), *grounds, *_own_grounds(entry, now)))
        yield gate, min(entry.weight, entry.cap) if gate.level is GateLevel.OPEN else 0.0


def world_gate(world: WorldFacts) -> Gate:
    """Return the gate of the world as a whole: what holds for every instance."""
    return _strictest(tuple(_world_grounds(world, None)))


def state_hash(*, world_id: str, position: Position, generation: int, content_hash: str, holds: frozenset[Hold]) -> str:
    """Return the digest of what is committed for a world: whoever has the same hash has the same state."""
    held = sorted([hold.kind.value, hold.owner, hold.level.value, hold.key.text if hold.key else ""] for hold in holds)
    parts = {
        "world_id": world_id,
        "position": position.text,
        "generation": generation,
        "content_hash": content_hash,
        "holds": held,
    }
    return digest(parts)


def lease_left_ms(
    envelope: ActivationEnvelope, *, lease_seconds: float, confirmed_for_seconds: float, fresh_for_seconds: float
) -> int:
    """Return for how many milliseconds an answer may be acted on; never more than is left of each of its proofs.

    ``confirmed_for_seconds`` is the age of the last confirmation against the rows (monotonic, counted from before they
    were read, R1); ``fresh_for_seconds`` what is left until the data turns stale. Ages that are negative or not finite
    leave nothing. A closed or reduce-only answer may be acted on just as long: it permits no more than is proven.
    """
    proofs = [lease_seconds - confirmed_for_seconds]
    if envelope.active:
        proofs.append(fresh_for_seconds)
    if not confirmed_for_seconds >= 0 or not all(left > 0 for left in proofs):
        return 0
    return int(min(proofs) * 1000)


def _unknown(entry: EntryFacts) -> Iterator[Gate]:
    if not entry.bound:
        yield Gate(GateLevel.CLOSED, ActivationReason.UNKNOWN)


def _own_grounds(entry: EntryFacts, now: datetime) -> Iterator[Gate]:
    if not 0 < entry.weight <= 1:
        yield Gate(GateLevel.REDUCE_ONLY, ActivationReason.NOT_SELECTED)
    if not entry.cap > 0:
        yield Gate(GateLevel.REDUCE_ONLY, ActivationReason.OVERRIDE)
    if not _is_fresh(entry, now):
        yield Gate(GateLevel.REDUCE_ONLY, ActivationReason.STALE)


def _world_grounds(world: WorldFacts, key: InstanceKey | None) -> Iterator[Gate]:
    never_applied = () if world.has_applied_set else (make_hold(HoldKind.NEVER_APPLIED, world.world_id),)
    yield gate_of({*world.holds, *never_applied}, key=key)
    if world.effective_mode not in _TRADING:
        yield Gate(_mode_level(world.effective_mode), ActivationReason.MODE)
    if not world.confirmed:
        level = GateLevel.CLOSED if world.on_expiry is GateLevel.CLOSED else GateLevel.REDUCE_ONLY
        yield Gate(level, ActivationReason.UNCONFIRMED)


def _mode_level(mode: EffectiveMode) -> GateLevel:
    """Return how far a world that may not trade is open: one that could trade a moment ago may still let go."""
    return GateLevel.REDUCE_ONLY if mode is EffectiveMode.COMPUTE_ONLY else GateLevel.CLOSED


def _strictest(grounds: tuple[Gate, ...]) -> Gate:
    return max(grounds, key=lambda gate: gate.level.strictness)


def _is_fresh(entry: EntryFacts, now: datetime) -> bool:
    return entry.fresh_until is not None and now <= entry.fresh_until


def _changed_at(entry: EntryFacts, world: WorldFacts, now: datetime) -> datetime:
    if entry.fresh_until is None or _is_fresh(entry, now):
        return world.changed_at
    return max(world.changed_at, entry.fresh_until)
