"""The answer of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.contracts.decision_envelope import Certificate, DecisionEnvelope, Violation
from qmtl_worlds.contracts.decision_record import RecordedDecision, decode_row
from qmtl_worlds.contracts.digests import canonical_json, digest_bytes
from qmtl_worlds.contracts.errors import StrategyNotFoundError
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.plans import ActiveSet, ChangeReason, TransitionPlan, active_set
from qmtl_worlds.contracts.reasons import DecisionVerdict, EffectiveMode, Reason
from qmtl_worlds.contracts.trace import TraceStep
from qmtl_worlds.decision.record import Chunk, DecisionTable, encode_chunks, encode_with_digest, payload_digest


@dataclass(frozen=True, slots=True, eq=False)
class Streaks:
    """The streaks to store after the run, sorted by key; ``checksum`` is the selection checksum that they belong to.

    They equal the stored ones where the run does not count. ``evidence`` is the period close counted last, -1 none;
    ``row`` is each one's row in the input.
    """

    keys: tuple[str, ...]
    row: NDArray[np.int64]
    in_streak: NDArray[np.int32]
    out_streak: NDArray[np.int32]
    evidence: NDArray[np.int64]
    checksum: str


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What should be active, at what weight, and why; a pure function of policy, inputs and ``now``.

    Lists are best rank first. ``topk`` is the selection without memory, ``final`` the membership after the whole plan
    with its ``weights``; ``reduced`` are the weights after the part that waits for nobody (a subset of what is
    permitted now). ``reasons`` says why each member that changes does. Without ``has_plan`` there is nothing to apply.
    """

    world_id: str
    policy_version: int
    policy_checksum: str
    as_of: datetime
    verdict: DecisionVerdict
    effective_mode: EffectiveMode
    reason: Reason
    topk: tuple[str, ...]
    final: tuple[str, ...]
    promote: tuple[str, ...]
    demote: tuple[str, ...]
    hold: tuple[str, ...]
    queued: tuple[str, ...]
    before: Mapping[str, float]
    weights: Mapping[str, float]
    reduced: Mapping[str, float]
    reasons: Mapping[str, ChangeReason]
    has_plan: bool
    ranks: Mapping[str, int]
    contribution: Mapping[str, float | None]
    violations: tuple[Violation, ...]
    certificate: Certificate
    weighting: str
    counts: Mapping[str, int]
    streaks: Streaks
    table: DecisionTable

    def envelope(self) -> DecisionEnvelope:
        """Return the decision as JSON; deterministic except for ``certificate.ms``."""
        return {
            "world_id": self.world_id,
            "policy_version": self.policy_version,
            "policy_checksum": self.policy_checksum,
            "as_of": f"{self.as_of.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
            "verdict": self.verdict.value,
            "effective_mode": self.effective_mode.value,
            "reason": self.reason.value,
            "topk": list(self.topk),
            "active": list(self.final),
            "promote": list(self.promote),
            "demote": list(self.demote),
            "hold": list(self.hold),
            "queued": list(self.queued),
            "weights": dict(self.weights),
            "reduced": dict(self.reduced),
            "has_plan": self.has_plan,
            "reasons": {key: reason.value for key, reason in self.reasons.items()},
            "ranks": dict(self.ranks),
            "contribution": dict(self.contribution),
            "violations": list(self.violations),
            "certificate": self.certificate,
            "weighting": self.weighting,
            "counts": dict(self.counts),
        }

    def canonical(self) -> bytes:
        """Return bytes that are equal for equal decisions: the envelope without times, and a digest of every row."""
        return self._canonical(payload_digest(self.table))

    @property
    def digest(self) -> str:
        """Return the digest of the canonical bytes."""
        return digest_bytes(self.canonical())

    def chunks(self) -> list[Chunk]:
        """Return the rows to store: (first key, last key, bytes), ascending."""
        return encode_chunks(self.table)

    def stored(self) -> tuple[bytes, list[Chunk]]:
        """Return the canonical bytes and the rows to store, for less than the two one by one."""
        chunks, digest = encode_with_digest(self.table)
        return self._canonical(digest), chunks

    def recorded(self, key: str) -> RecordedDecision:
        """Return what was decided about ``key``, as the stored row will tell it.

        Raises:
            StrategyNotFoundError: there is no such instance in the inputs.
        """
        position = self.table.find(key)
        if position is None:
            strategy_id, _, side = key.partition("|")
            raise StrategyNotFoundError(self.world_id, strategy_id, side or None)
        return decode_row(encode_chunks(self.table.rows(position, position + 1))[0][2], key)

    def _canonical(self, rows: str) -> bytes:
        certificate: dict[str, Any] = {name: value for name, value in self.certificate.items() if name != "ms"}
        return canonical_json({**self.envelope(), "certificate": certificate, "rows": rows})

    def trace(self, key: str) -> tuple[TraceStep, ...]:
        """Return the way of ``key`` through the stages.

        Raises:
            StrategyNotFoundError: there is no such instance in the inputs.
        """
        return self.recorded(key).steps

    def plan(self, *, base_generation: int) -> TransitionPlan:
        """Return the plan that leads from the set of ``base_generation`` to this decision's set."""
        return TransitionPlan(
            world_id=self.world_id,
            base_generation=base_generation,
            policy_checksum=self.policy_checksum,
            before=_set_of(self.before),
            after=_set_of(self.weights),
            reasons=tuple((InstanceKey.from_text(key), reason) for key, reason in sorted(self.reasons.items())),
        )


def _set_of(weights: Mapping[str, float]) -> ActiveSet:
    return active_set({InstanceKey.from_text(key): weight for key, weight in weights.items()})
