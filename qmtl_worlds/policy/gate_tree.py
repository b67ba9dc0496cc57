"""From the gates of the document to the tree that evaluates, and back to plain values."""

from __future__ import annotations

from collections.abc import Mapping

from qmtl_worlds.policy.expression import parse_condition
from qmtl_worlds.policy.gates import AndGate, Gate, NotGate, OrGate
from qmtl_worlds.policy.nodes import AllOf, AnyOf, Condition, GateNode, NoneOf
from qmtl_worlds.policy.places import Path, path_text
from qmtl_worlds.policy.printing import print_expression

_KEYS: dict[type[AllOf | AnyOf | NoneOf], str] = {AllOf: "and", AnyOf: "or", NoneOf: "not"}


def build_gates(gate: Gate, lines: Mapping[str, int]) -> GateNode:
    """Return the tree of the document's gates, each leaf with its path and its line of ``lines``."""
    return _Builder(lines).build(gate, ("selection", "gates"))


def print_gates(gate: GateNode) -> object:
    """Return ``gate`` as JSON values, its conditions printed canonically."""
    if isinstance(gate, Condition):
        return print_expression(gate.node)
    return {_KEYS[type(gate)]: [print_gates(child) for child in gate.children]}


class _Builder:
    def __init__(self, lines: Mapping[str, int]) -> None:
        self._lines = lines

    def build(self, gate: Gate, path: Path) -> GateNode:
        match gate:
            case AndGate(children=children):
                return AllOf(self._children(children, (*path, "and")), path_text(path))
            case OrGate(children=children):
                return AnyOf(self._children(children, (*path, "or")), path_text(path))
            case NotGate(children=children):
                return NoneOf(self._children(children, (*path, "not")), path_text(path))
            case str():
                text = " ".join(gate.split())
                return Condition(text, parse_condition(gate), path_text(path), self._line(path))

    def _children(self, children: tuple[Gate, ...], path: Path) -> tuple[GateNode, ...]:
        return tuple(self.build(child, (*path, number)) for number, child in enumerate(children))

    def _line(self, path: Path) -> int:
        return self._lines.get(path_text(path)) or self._lines.get(path_text(path[:-1]), 1)
