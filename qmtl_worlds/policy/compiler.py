"""Turn a policy's text into what evaluates: the document, the gates and score as trees, checksums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from qmtl_worlds.contracts.digests import canonical_json, digest, digest_bytes
from qmtl_worlds.contracts.ids import Side
from qmtl_worlds.contracts.metric_names import MetricRef, parse_metric
from qmtl_worlds.policy.document import PolicyDocument
from qmtl_worlds.policy.expression import parse_number
from qmtl_worlds.policy.faults import invalid, line_numbers
from qmtl_worlds.policy.gate_tree import build_gates, print_gates
from qmtl_worlds.policy.json_tree import check_size, read_mapping
from qmtl_worlds.policy.loader import load_document
from qmtl_worlds.policy.nodes import Condition, Expr, GateNode
from qmtl_worlds.policy.places import PathFault, SourceTree
from qmtl_worlds.policy.printing import print_expression
from qmtl_worlds.policy.text_checks import MAX_BYTES
from qmtl_worlds.policy.walk import metric_names, walk_conditions
from qmtl_worlds.policy.yaml_tree import read_yaml

MAX_METRICS: Final = 64


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """A policy without faults.

    ``conditions`` are the leaves of ``gates`` in the order of the text. ``metrics`` are those that gates, score,
    weights and the leverage cap (always there) read, sorted by name. ``canonical`` is the document as canonical JSON
    with all defaults, and ``checksum`` its digest. ``selection_checksum`` covers data_currency, metrics and selection
    only, and is the same for expressions that differ in blanks and parentheses alone: streaks live as long as it does.
    ``lines`` tells on which line of the text the key of each path stands.
    """

    document: PolicyDocument
    gates: GateNode
    score: Expr
    conditions: tuple[Condition, ...]
    metrics: tuple[MetricRef, ...]
    checksum: str
    selection_checksum: str
    canonical: bytes
    lines: Mapping[str, int]

    def line_of(self, path: str) -> int:
        """Return the line of the value at ``path``, of the section around it where it has none; 1 without a text."""
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines.get(path, 1)

    def window_days(self, ref: MetricRef) -> int | None:
        """Return how many sessions a metric of this policy reads, None where it has no window."""
        windows = self.document.metrics.windows
        match ref.window:
            case "short":
                return windows.short_days
            case "mid":
                return windows.mid_days
            case "long":
                return windows.long_days
            case days:
                return days

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
    """Compile YAML or JSON text; a given ``world_id`` must be the world that the text names.

    Raises:
        PolicyInvalidError: with all faults, each with path, line and column.
    """
    return _compile(read_yaml(text), world_id=world_id)


def compile_mapping(value: Mapping[str, object], *, world_id: str | None = None) -> CompiledPolicy:
    """Compile a policy that came as JSON values; faults stand at line 1, column 1.

    Raises:
        PolicyInvalidError: with all faults, each with its path.
    """
    return _compile(read_mapping(value), world_id=world_id)


def _compile(tree: SourceTree, *, world_id: str | None) -> CompiledPolicy:
    document = load_document(tree, world_id=world_id)
    lines = line_numbers(tree)
    gates = build_gates(document.selection.gates, lines)
    score = parse_number(document.selection.score)
    conditions = tuple(walk_conditions(gates))
    metrics = _metrics_of(document, conditions, score)
    if len(metrics) > MAX_METRICS:
        message = f"a policy reads at most {MAX_METRICS} metrics, this one {len(metrics)}"
        raise invalid([PathFault(("selection",), "too-many-metrics", message)], tree)
    canonical = _canonical(document, tree)
    return CompiledPolicy(
        document=document,
        gates=gates,
        score=score,
        conditions=conditions,
        metrics=metrics,
        checksum=digest_bytes(canonical),
        selection_checksum=digest(_selection_part(document, gates, score)),
        canonical=canonical,
        lines=lines,
    )


def _canonical(document: PolicyDocument, tree: SourceTree) -> bytes:
    """Return the canonical form; with its defaults it must keep the limits of a text, so that it can be read again."""
    plain = document.plain()
    check_size(plain)
    canonical = canonical_json(plain)
    if len(canonical) > MAX_BYTES:
        raise invalid([PathFault((), "too-large", f"with its defaults a policy has at most {MAX_BYTES} bytes")], tree)
    return canonical


def _metrics_of(document: PolicyDocument, conditions: tuple[Condition, ...], score: Expr) -> tuple[MetricRef, ...]:
    names = {"leverage"}.union(metric_names(score), *(metric_names(condition.node) for condition in conditions))
    if document.selection.weights.scheme in {"inverse_vol", "erc"}:
        names.add("volatility_mid")
    return tuple(ref for name in sorted(names) if (ref := parse_metric(name)) is not None)


def _selection_part(document: PolicyDocument, gates: GateNode, score: Expr) -> dict[str, object]:
    plain = document.plain()
    selection = plain["selection"] | {"gates": print_gates(gates), "score": print_expression(score)}
    return {"data_currency": plain["data_currency"], "metrics": plain["metrics"], "selection": selection}
