"""Read expressions: numbers, metric names, ``+ - * /``, comparisons, ``and or not``, ``min max abs clip``.

    either     := both ("or" both)*
    both       := negation ("and" negation)*
    negation   := "not" negation | chain
    chain      := sum (("<" | "<=" | ">" | ">=" | "==" | "!=") sum)*
    sum        := product (("+" | "-") product)*
    product    := signed (("*" | "/") signed)*
    signed     := "-" signed | atom
    atom       := number | name | function "(" either ("," either)* ")" | "(" either ")"

Types are told apart while parsing: only numbers are added and compared, only truth values are joined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from qmtl_worlds.contracts.errors import ExpressionInvalidError
from qmtl_worlds.policy.nodes import (
    ARITHMETIC_OPERATORS,
    COMPARISON_OPERATORS,
    FUNCTIONS,
    And,
    Arithmetic,
    BooleanExpr,
    Call,
    Comparison,
    ComparisonOperator,
    Expr,
    Function,
    Metric,
    Negate,
    Node,
    Not,
    Number,
    Or,
)
from qmtl_worlds.policy.tokens import Token, tokenize

MAX_DEPTH: Final = 16
"""How deep parentheses, calls and signs may nest."""
MAX_NODES: Final = 64
"""How many numbers, names, operators and functions an expression may have."""


def parse_number(text: str) -> Expr:
    """Read an expression that is a number; names are not checked here.

    Raises:
        ExpressionInvalidError: it is not well formed, too large, or a truth value.
    """
    return _number(parse_expression(text), column=1)


def parse_condition(text: str) -> BooleanExpr:
    """Read an expression that is true or false; names are not checked here.

    Raises:
        ExpressionInvalidError: it is not well formed, too large, or a number.
    """
    return _truth(parse_expression(text), column=1)


def parse_expression(text: str) -> Node:
    """Read an expression of either type; names are not checked here.

    Raises:
        ExpressionInvalidError: it is not well formed or too large.
    """
    return _Parser(tokenize(text)).whole()


class _Parser:
    """Recursive descent; every recursion passes ``_deeper``, so that no text can exhaust the stack."""

    def __init__(self, tokens: tuple[Token, ...]) -> None:
        self._tokens = tokens
        self._index = 0
        self._depth = 0
        self._nodes = 0

    def whole(self) -> Node:
        node = self._either()
        if self._token.kind != "end":
            raise self._expected("an operator")
        return node

    def _either(self) -> Node:
        return self._joined("or", self._both, Or)

    def _both(self) -> Node:
        return self._joined("and", self._negation, And)

    def _joined(self, word: str, part: Callable[[], Node], make: type[Or | And]) -> Node:
        start = self._token
        first = part()
        if not self._at(word):
            return first
        operands = [_truth(first, column=start.column)]
        while self._take(word):
            column = self._token.column
            operands.append(_truth(part(), column=column))
        self._count(start)
        return make(tuple(operands), start.column)

    def _negation(self) -> Node:
        start = self._token
        if not self._take("not"):
            return self._chain()
        with self._deeper(start):
            operand = self._negation()
        self._count(start)
        return Not(_truth(operand, column=start.column + 4), start.column)

    def _chain(self) -> Node:
        start = self._token
        first = self._sum()
        if self._comparison() is None:
            return first
        operators: list[ComparisonOperator] = []
        operands = [_number(first, column=start.column)]
        while (operator := self._comparison()) is not None:
            self._index += 1
            column = self._token.column
            operators.append(operator)
            operands.append(_number(self._sum(), column=column))
        self._count(start)
        return Comparison(tuple(operators), tuple(operands), start.column)

    def _sum(self) -> Node:
        return self._arithmetic(("+", "-"), self._product)

    def _product(self) -> Node:
        return self._arithmetic(("*", "/"), self._signed)

    def _arithmetic(self, operators: tuple[str, str], part: Callable[[], Node]) -> Node:
        start = self._token
        left = part()
        while self._token.text in operators:
            token = self._advance()
            operand_column = self._token.column
            right = part()
            self._count(token)
            left = Arithmetic(
                ARITHMETIC_OPERATORS[token.text],
                _number(left, column=start.column),
                _number(right, column=operand_column),
                token.column,
            )
        return left

    def _signed(self) -> Node:
        start = self._token
        if not self._take("-"):
            return self._atom()
        with self._deeper(start):
            column = self._token.column
            operand = self._signed()
        self._count(start)
        return Negate(_number(operand, column=column), start.column)

    def _atom(self) -> Node:
        token = self._token
        if token.kind == "number":
            return self._literal()
        if token.kind == "name":
            self._advance()
            return self._call(token) if self._at("(") else self._metric(token)
        if self._take("("):
            with self._deeper(token):
                inner = self._either()
            self._require(")")
            return inner
        raise self._expected("a number, a metric or (")

    def _literal(self) -> Number:
        token = self._advance()
        value = float(token.text)
        if value == float("inf"):
            raise ExpressionInvalidError("the number is too large", column=token.column, kind="number-not-finite")
        self._count(token)
        return Number(value, token.column)

    def _metric(self, token: Token) -> Metric:
        if token.text in FUNCTIONS:
            raise ExpressionInvalidError(
                f"{token.text} is a function: write {token.text}(...)", column=token.column, kind="syntax"
            )
        self._count(token)
        return Metric(token.text, token.column)

    def _call(self, token: Token) -> Call:
        function = FUNCTIONS.get(token.text)
        if function is None:
            raise ExpressionInvalidError(
                f"there is no function {token.text!r}; there are {', '.join(FUNCTIONS)}",
                column=token.column,
                kind="unknown-function",
            )
        self._require("(")
        with self._deeper(token):
            arguments = [self._argument()]
            while self._take(","):
                arguments.append(self._argument())
        self._require(")")
        _check_arity(function, len(arguments), token)
        self._count(token)
        return Call(function, tuple(arguments), token.column)

    def _argument(self) -> Expr:
        column = self._token.column
        return _number(self._either(), column=column)

    @property
    def _token(self) -> Token:
        return self._tokens[self._index]

    def _advance(self) -> Token:
        token = self._token
        self._index += 1
        return token

    def _at(self, text: str) -> bool:
        return self._token.text == text

    def _take(self, text: str) -> bool:
        if not self._at(text):
            return False
        self._index += 1
        return True

    def _comparison(self) -> ComparisonOperator | None:
        return COMPARISON_OPERATORS.get(self._token.text)

    def _require(self, text: str) -> None:
        if not self._take(text):
            raise self._expected(text)

    def _expected(self, what: str) -> ExpressionInvalidError:
        token = self._token
        found = "the end" if token.kind == "end" else repr(token.text)
        return ExpressionInvalidError(f"expected {what}, found {found}", column=token.column, kind="syntax")

    def _count(self, token: Token) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise ExpressionInvalidError(
                f"an expression has at most {MAX_NODES} numbers, names, operators and functions",
                column=token.column,
                kind="expression-too-large",
            )

    @contextmanager
    def _deeper(self, token: Token) -> Iterator[None]:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionInvalidError(
                f"parentheses, calls and signs nest at most {MAX_DEPTH} deep",
                column=token.column,
                kind="expression-too-deep",
            )
        yield
        self._depth -= 1


def _number(node: Node, *, column: int) -> Expr:
    if isinstance(node, Comparison | Not | And | Or):
        raise ExpressionInvalidError("expected a number, not a condition", column=column, kind="wrong-type")
    return node


def _truth(node: Node, *, column: int) -> BooleanExpr:
    if not isinstance(node, Comparison | Not | And | Or):
        raise ExpressionInvalidError(
            "expected a condition such as sharpe_mid >= 0.6, not a number", column=column, kind="wrong-type"
        )
    return node


def _check_arity(function: Function, count: int, token: Token) -> None:
    wanted = {"abs": 1, "clip": 3}.get(function)
    if count == wanted or (wanted is None and count >= 2):  # noqa: PLR2004 - min and max compare at least two
        return
    takes = {"abs": "one value", "clip": "a value, a low and a high bound"}.get(function, "two or more values")
    raise ExpressionInvalidError(f"{function} takes {takes}", column=token.column, kind="wrong-arity")
