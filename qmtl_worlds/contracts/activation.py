"""What a Runner is told about one instance: the activation envelope, on the wire and in the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from qmtl_worlds.contracts.digests import digest
from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.ids import InstanceKey, Side, check_side
from qmtl_worlds.contracts.lease import Position, find_position


class GateLevel(StrEnum):
    """Which orders pass: all, those that reduce risk, none."""

    OPEN = "open"
    REDUCE_ONLY = "reduce_only"
    CLOSED = "closed"

    @property
    def strictness(self) -> int:
        """Return 0 for open, 1 for reduce_only, 2 for closed."""
        return _STRICTNESS[self]


_STRICTNESS: Final = {GateLevel.OPEN: 0, GateLevel.REDUCE_ONLY: 1, GateLevel.CLOSED: 2}


class ActivationReason(StrEnum):
    """Why a gate is as it is; codes are forever."""

    ACTIVE = "active"
    UNKNOWN = "unknown"
    KILLED = "killed"
    SUSPENDED = "suspended"
    BOOT = "boot"
    NEVER_APPLIED = "never_applied"
    MODE = "mode"
    WITHDRAWN = "withdrawn"
    CIRCUIT = "circuit"
    STALE_RISK = "stale_risk"
    FREEZE = "freeze"
    APPLYING = "applying"
    OVERRIDE = "override"
    NOT_SELECTED = "not_selected"
    STALE = "stale"
    AWAITING_FLAT = "awaiting_flat"
    EXPIRED = "expired"
    UNCONFIRMED = "unconfirmed"


@dataclass(frozen=True, slots=True)
class ActivationEnvelope:
    """The answer for one instance; equal ETags mean equal bodies.

    ``active``, ``gate == open`` and ``weight > 0`` are one and the same fact; ``weight`` is a share of world capital in
    [0, 1]. ``freeze`` and ``drain`` tell that an operator's freeze or an apply closes the gate. ``generation`` counts
    sets, ``sequence`` visible changes; ``run_id`` made the set ("" before the first). ``ts`` is the time of the last
    visible change, not of the answer. ``state_hash`` is the world's, the same in every envelope of one state.
    ``on_lease_expiry`` is what still passes once the lease has run out: ``reduce_only`` or ``closed``.
    """

    world_id: str
    strategy_id: str
    side: Side
    active: bool
    weight: float
    freeze: bool
    drain: bool
    gate: GateLevel
    mode: str
    effective_mode: str
    reason: str
    etag: str
    generation: int
    sequence: int
    run_id: str
    ts: datetime
    state_hash: str
    on_lease_expiry: GateLevel = GateLevel.REDUCE_ONLY

    @property
    def key(self) -> InstanceKey:
        """Return which instance this is about."""
        return InstanceKey(self.strategy_id, self.side)

    @property
    def position(self) -> Position | None:
        """Return where in the world's order this answer stands; None where the ETag does not say (malformed)."""
        return find_position(self.etag)

    def to_json(self) -> dict[str, object]:
        """Return the wire form."""
        body = {name: getattr(self, name) for name in self.__slots__}
        enums = {"side": self.side.value, "gate": self.gate.value, "on_lease_expiry": self.on_lease_expiry.value}
        return body | enums | {"ts": _time_text(self.ts)}


def envelope_etag(position: Position, body: Mapping[str, object]) -> str:
    """Return the ETag (unquoted) of a wire body at ``position``; a present ``etag`` key is left out of the hash."""
    tag = digest({name: value for name, value in body.items() if name != "etag"})
    return f"{position.text}-{tag.removeprefix('sha256:')[:16]}"


def parse_envelope(body: object) -> ActivationEnvelope:
    """Read the wire form; unknown fields are ignored, so that an older client survives a newer server.

    Raises:
        InputInvalidError: a field is missing, of another type or range, or the answer contradicts itself. Such an
            answer proves nothing, and a gate that sees one must not renew its permission.
    """
    if not isinstance(body, Mapping):
        raise InputInvalidError(field="activation", reason="must be an object")
    envelope = ActivationEnvelope(
        world_id=_text(body, "world_id"),
        strategy_id=_text(body, "strategy_id"),
        side=check_side(_text(body, "side")),
        active=_flag(body, "active"),
        weight=_weight(body),
        freeze=_flag(body, "freeze"),
        drain=_flag(body, "drain"),
        gate=_level(body, "gate"),
        mode=_text(body, "mode"),
        effective_mode=_text(body, "effective_mode"),
        reason=_text(body, "reason"),
        etag=_text(body, "etag"),
        generation=_count(body, "generation"),
        sequence=_count(body, "sequence"),
        run_id=_text(body, "run_id"),
        ts=_time(body),
        state_hash=_text(body, "state_hash"),
        on_lease_expiry=_level({"on_lease_expiry": GateLevel.REDUCE_ONLY, **body}, "on_lease_expiry"),
    )
    _check_consistent(envelope)
    return envelope


def supersedes(offered: ActivationEnvelope, held: ActivationEnvelope | None) -> bool:
    """Tell whether a reader that holds ``held`` must take ``offered`` (R6).

    A later (incarnation, sequence) wins; at an equal one the stricter answer wins, and of equally strict ones the later
    ``hold_sequence``. An answer equal to the held one renews it. So whatever loosens a gate must raise the sequence.
    An ``unconfirmed`` answer says what could not be proven, not what the state is: at an equal (incarnation, sequence)
    it takes no other's place, and any that is not older takes its place.
    """
    offered_at, held_at = offered.position, held.position if held else None
    if offered_at is None or held is None or held_at is None:
        return offered_at is not None
    offered_rev, held_rev = (offered_at.incarnation, offered_at.sequence), (held_at.incarnation, held_at.sequence)
    if offered_rev != held_rev:
        return offered_rev > held_rev
    if ActivationReason.UNCONFIRMED in {offered.reason, held.reason}:
        return held.reason == ActivationReason.UNCONFIRMED and offered_at >= held_at
    if _strictness(offered) != _strictness(held):
        return _strictness(offered) > _strictness(held)
    return offered_at.hold_sequence >= held_at.hold_sequence


def _strictness(envelope: ActivationEnvelope) -> tuple[int, float]:
    return envelope.gate.strictness, -envelope.weight


def _check_consistent(envelope: ActivationEnvelope) -> None:
    says_open = (envelope.active, envelope.gate is GateLevel.OPEN, envelope.weight > 0)
    if len(set(says_open)) != 1:
        raise InputInvalidError(field="active", reason="must agree with gate and weight")
    if envelope.active and (envelope.freeze or envelope.drain):
        raise InputInvalidError(field="freeze", reason="must be false where active is true")
    if envelope.on_lease_expiry is GateLevel.OPEN:
        raise InputInvalidError(field="on_lease_expiry", reason="must be reduce_only or closed")
    position = envelope.position
    if position is None or position.sequence != envelope.sequence:
        raise InputInvalidError(field="etag", reason="must begin with incarnation.sequence.hold_sequence")


def _text(body: Mapping[str, object], field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str):
        raise InputInvalidError(field=field, reason="must be a string")
    return value


def _flag(body: Mapping[str, object], field: str) -> bool:
    value = body.get(field)
    if not isinstance(value, bool):
        raise InputInvalidError(field=field, reason="must be true or false")
    return value


def _count(body: Mapping[str, object], field: str) -> int:
    value = body.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InputInvalidError(field=field, reason="must be a whole number >= 0")
    return value


def _weight(body: Mapping[str, object]) -> float:
    value = body.get("weight")
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise InputInvalidError(field="weight", reason="must be a number in [0, 1]")
    return float(value)


def _level(body: Mapping[str, object], field: str) -> GateLevel:
    try:
        return GateLevel(_text(body, field))
    except ValueError:
        raise InputInvalidError(field=field, reason="must be open, reduce_only or closed") from None


def _time(body: Mapping[str, object]) -> datetime:
    try:
        value = datetime.fromisoformat(_text(body, "ts"))
    except ValueError:
        raise InputInvalidError(field="ts", reason="must be an ISO-8601 time") from None
    if value.tzinfo is None:
        raise InputInvalidError(field="ts", reason="must have an offset")
    return value.astimezone(UTC)


def _time_text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
