"""Print expressions in the one canonical way: single spaces, the fewest parentheses, shortest numbers."""

from __future__ import annotations

from typing import Final

from qmtl_worlds.policy.nodes import And, Arithmetic, Call, Comparison, Metric, Negate, Node, Not, Number, Or

_OR, _AND, _NOT, _CHAIN, _SUM, _PRODUCT, _SIGNED, _ATOM = range(8)
_LEVELS: Final[dict[type[Node], int]] = {Or: _OR, And: _AND, Not: _NOT, Comparison: _CHAIN, Negate: _SIGNED}
_EXACT_INTEGERS: Final = 1e15


def print_expression(node: Node) -> str:
    """Write ``node`` so that parsing the text gives an equal node."""
    match node:
        case Number(value):
            return _print_number(value)
        case Metric(name):
            return name
        case Negate(operand):
            return f"-{_within(operand, _SIGNED)}"
        case Arithmetic(op, left, right):
            level = _level(node)
            return f"{_within(left, level)} {op} {_within(right, level + 1)}"
        case Call(function, arguments):
            return f"{function}({', '.join(print_expression(argument) for argument in arguments)})"
        case _:
            return _print_condition(node)


def _print_condition(node: Comparison | Not | And | Or) -> str:
    match node:
        case Comparison(operators, operands):
            rest = zip(operators, operands[1:], strict=True)
            return _within(operands[0], _SUM) + "".join(f" {op} {_within(operand, _SUM)}" for op, operand in rest)
        case Not(operand):
            return f"not {_within(operand, _NOT)}"
        case And(operands):
            return " and ".join(_within(operand, _NOT) for operand in operands)
        case Or(operands):
            return " or ".join(_within(operand, _AND) for operand in operands)


def _within(node: Node, level: int) -> str:
    text = print_expression(node)
    return text if _level(node) >= level else f"({text})"


def _level(node: Node) -> int:
    if isinstance(node, Arithmetic):
        return _SUM if node.op in {"+", "-"} else _PRODUCT
    return _LEVELS.get(type(node), _ATOM)


def _print_number(value: float) -> str:
    return str(int(value)) if value.is_integer() and value < _EXACT_INTEGERS else repr(value)
