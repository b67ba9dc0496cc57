"""Sets of active instances, and plans that lead from one to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

from qmtl_worlds.contracts.digests import digest
from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.ids import InstanceKey


@dataclass(frozen=True, slots=True, order=True)
class ActiveEntry:
    """One active instance and its share of world capital, 0 < weight <= 1.

    Raises:
        InputInvalidError: the weight is out of range or NaN.
    """

    key: InstanceKey
    weight: float

    def __post_init__(self) -> None:
        """Refuse a weight that permits nothing or too much."""
        if not 0 < self.weight <= 1:
            raise InputInvalidError(field=f"weight of {self.key.text}", reason="must be in (0, 1]")


@dataclass(frozen=True)
class ActiveSet:
    """Who may trade, and with how much; sorted by key, each key once. Make it with ``active_set``."""

    entries: tuple[ActiveEntry, ...] = ()

    @cached_property
    def weights(self) -> Mapping[InstanceKey, float]:
        """Return the weight of each member."""
        return {entry.key: entry.weight for entry in self.entries}

    @property
    def content_hash(self) -> str:
        """Return the digest of who is in at what weight, the same whatever generation holds it."""
        return digest(self.to_json())

    def to_json(self) -> dict[str, float]:
        """Return ``{"strategy_id|side": weight}``."""
        return {entry.key.text: entry.weight for entry in self.entries}


EMPTY_SET: Final = ActiveSet()


def active_set(weights: Mapping[InstanceKey, float] | Iterable[tuple[InstanceKey, float]]) -> ActiveSet:
    """Return the set with these weights; a weight of 0 leaves the instance out.

    Raises:
        InputInvalidError: a weight is outside [0, 1] or NaN, or a key comes twice.
    """
    pairs = list(weights.items() if isinstance(weights, Mapping) else weights)
    if len({key for key, _ in pairs}) != len(pairs):
        raise InputInvalidError(field="entries", reason="must name each instance once")
    pairs.sort(key=lambda pair: (pair[0].strategy_id, pair[0].side))  # as keys compare, but in one go
    return ActiveSet(tuple(ActiveEntry(key, weight) for key, weight in pairs if weight != 0))


def parse_active_set(body: Mapping[str, float]) -> ActiveSet:
    """Read what ``ActiveSet.to_json`` wrote.

    Raises:
        InputInvalidError: a key or weight is not legal.
    """
    return active_set({InstanceKey.from_text(text): weight for text, weight in body.items()})


class ChangeKind(StrEnum):
    """What a plan does to one instance."""

    PROMOTE = "promote"
    DEMOTE = "demote"
    RAISE = "raise"
    CUT = "cut"


class ChangeReason(StrEnum):
    """Why a plan changes one instance."""

    SELECTED = "selected"
    OUTRANKED = "outranked"
    GATE_FAIL = "gate_fail"
    WITHDRAWN = "withdrawn"
    KILLED = "killed"
    CAP = "cap"
    RESIZED = "resized"
    ROLLBACK = "rollback"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """One instance's weight before and after; 0 means not in the set."""

    key: InstanceKey
    kind: ChangeKind
    reason: ChangeReason
    before: float
    after: float


@dataclass(frozen=True)
class TransitionPlan:
    """From the set of ``base_generation`` to another set, under one policy.

    ``reasons`` says why members change; one that is not named promotes as ``selected``, leaves as ``outranked`` and
    is resized as ``resized``. A demotion for another reason than ``outranked`` is carried out at once (SEMANTICS 0.5).
    """

    world_id: str
    base_generation: int
    policy_checksum: str
    before: ActiveSet
    after: ActiveSet
    reasons: tuple[tuple[InstanceKey, ChangeReason], ...] = ()

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """Return every difference between the two sets, by key."""
        before, after, reasons = self.before.weights, self.after.weights, dict(self.reasons)
        changes = [
            _change(key, before.get(key, 0.0), after.get(key, 0.0), reasons.get(key))
            for key in sorted(before.keys() | after.keys())
            if before.get(key, 0.0) != after.get(key, 0.0)
        ]
        return tuple(changes)

    @cached_property
    def plan_hash(self) -> str:
        """Return what an approval is bound to: world, base generation, policy, both sets and the reasons."""
        return digest(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the stored form; equal plans give equal bytes whatever the order of ``reasons``."""
        return {
            "world_id": self.world_id,
            "base_generation": self.base_generation,
            "policy_checksum": self.policy_checksum,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "reasons": {change.key.text: change.reason.value for change in self.changes},
        }


def parse_plan(body: Mapping[str, Any]) -> TransitionPlan:
    """Read what ``TransitionPlan.to_json`` wrote; the hash stays the same.

    Raises:
        InputInvalidError: a key or weight is not legal.
        KeyError: a part is missing.
    """
    return TransitionPlan(
        world_id=body["world_id"],
        base_generation=body["base_generation"],
        policy_checksum=body["policy_checksum"],
        before=parse_active_set(body["before"]),
        after=parse_active_set(body["after"]),
        reasons=tuple((InstanceKey.from_text(key), ChangeReason(why)) for key, why in sorted(body["reasons"].items())),
    )


def _change(key: InstanceKey, before: float, after: float, reason: ChangeReason | None) -> Change:
    if before == 0:
        return Change(key, ChangeKind.PROMOTE, reason or ChangeReason.SELECTED, before, after)
    if after == 0:
        return Change(key, ChangeKind.DEMOTE, reason or ChangeReason.OUTRANKED, before, after)
    kind = ChangeKind.RAISE if after > before else ChangeKind.CUT
    return Change(key, kind, reason or ChangeReason.RESIZED, before, after)
