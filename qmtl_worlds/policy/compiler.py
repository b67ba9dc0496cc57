"""Turn a policy's text into what evaluates: the document, the gates and score as trees, checksums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qmtl_worlds.contracts.ids import Side
from qmtl_worlds.contracts.metric_names import MetricRef
from qmtl_worlds.policy.document import PolicyDocument
from qmtl_worlds.policy.nodes import Condition, Expr, GateNode


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """A policy without faults.

    ``conditions`` are the leaves of ``gates`` in the order of the text. ``metrics`` are those that gates, score,
    weights and the leverage cap read, sorted by name. ``canonical`` is the document as canonical JSON with all
    defaults, and ``checksum`` its digest. ``selection_checksum`` covers data_currency, metrics and selection only,
    and is the same for expressions that differ in blanks and parentheses alone: streaks live as long as it does.
    """

    document: PolicyDocument
    gates: GateNode
    score: Expr
    conditions: tuple[Condition, ...]
    metrics: tuple[MetricRef, ...]
    checksum: str
    selection_checksum: str
    canonical: bytes

    def slot_weight(self, side: Side) -> float:
        """Return the share of world capital of one slot of ``side``: budget over slots, 0 where there is no slot."""
        selection = self.document.selection
        slots = selection.topk.by_side[side]
        return selection.constraints.exposure.gross_budget[side] / slots if slots else 0.0

    def max_weight(self, side: Side) -> float:
        """Return the largest weight of one instance of ``side``: ``weights.max_weight``, else two slots' worth."""
        given = self.document.selection.weights.max_weight
        return 2.0 * self.slot_weight(side) if given is None else given


def compile_policy(text: str | bytes, *, world_id: str | None = None) -> CompiledPolicy:
    """Compile YAML or JSON text; a bound ``world_id`` must be the world that the text names.

    Raises:
        PolicyInvalidError: with all faults, each with path, line and column.
    """
    raise NotImplementedError


def compile_mapping(value: Mapping[str, object], *, world_id: str | None = None) -> CompiledPolicy:
    """Compile a policy that came as JSON values; faults stand at line 1, column 1.

    Raises:
        PolicyInvalidError: with all faults, each with its path.
    """
    raise NotImplementedError
