"""Go through expressions and gates in the order of their text."""

from __future__ import annotations

from collections.abc import Iterator

from qmtl_worlds.policy.nodes import (
    AllOf,
    And,
    AnyOf,
    Arithmetic,
    Call,
    Comparison,
    Condition,
    GateNode,
    Metric,
    Negate,
    Node,
    NoneOf,
    Not,
    Or,
)


def walk_expression(node: Node) -> Iterator[Node]:
    """Yield ``node`` and everything below it, parents first, left to right."""
    yield node
    for child in _children(node):
        yield from walk_expression(child)


def metric_names(node: Node) -> frozenset[str]:
    """Return the names of the metrics that ``node`` reads."""
    return frozenset(part.name for part in walk_expression(node) if isinstance(part, Metric))


def walk_conditions(gate: GateNode) -> Iterator[Condition]:
    """Yield the leaves of ``gate`` in the order of the text."""
    if isinstance(gate, Condition):
        yield gate
        return
    for child in gate.children:
        yield from walk_conditions(child)


def walk_gates(gate: GateNode) -> Iterator[AllOf | AnyOf | NoneOf]:
    """Yield the inner nodes of ``gate``, parents first."""
    if isinstance(gate, Condition):
        return
    yield gate
    for child in gate.children:
        yield from walk_gates(child)


def _children(node: Node) -> tuple[Node, ...]:
    match node:
        case Negate(operand) | Not(operand):
            return (operand,)
        case Arithmetic(_, left, right):
            return (left, right)
        case Call(_, arguments):
            return arguments
        case Comparison(_, operands) | And(operands) | Or(operands):
            return operands
        case _:
            return ()
