"""Cut an expression into tokens; ASCII only, so that no look-alike letter ever passes for another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from qmtl_worlds.contracts.errors import ExpressionInvalidError

MAX_CHARACTERS: Final = 512
KEYWORDS: Final = frozenset({"and", "or", "not"})

TokenKind = Literal["number", "name", "keyword", "operator", "end"]

_TOKEN = re.compile(
    r"""
    (?P<number> (?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)? (?![A-Za-z0-9_.]) )
  | (?P<name> [A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)* )
  | (?P<operator> <= | >= | == | != | [-+*/<>(),] )
    """,
    re.VERBOSE,
)
_BLANK = re.compile(r"[ \t\n]*")
_JUNK = re.compile(r"[^\s(),<>=!+*/-]+|[=!]|.", re.DOTALL)
_HINTS: Final = {
    "=": "use == to compare",
    "!": "use not",
    "&": "use and",
    "&&": "use and",
    "|": "use or",
    "||": "use or",
    "%": "write 0.25 for 25 %",
    "^": "there are no powers",
}


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of an expression; ``column`` is 1-based, ``text`` is empty at the end."""

    kind: TokenKind
    text: str
    column: int


def tokenize(text: str) -> tuple[Token, ...]:
    """Cut ``text`` into tokens, an ``end`` token last.

    Raises:
        ExpressionInvalidError: the text is too long, or a character has no place in an expression.
    """
    if len(text) > MAX_CHARACTERS:
        raise ExpressionInvalidError(
            f"an expression has at most {MAX_CHARACTERS} characters, this one {len(text)}",
            column=1,
            kind="expression-too-long",
        )
    tokens: list[Token] = []
    position = _after_blank(text, 0)
    while position < len(text):
        token = _token_at(text, position)
        tokens.append(token)
        position = _after_blank(text, position + len(token.text))
    return (*tokens, Token("end", "", len(text.rstrip(" \t\n")) + 1))


def _token_at(text: str, position: int) -> Token:
    match = _TOKEN.match(text, position)
    if match is None:
        raise _unexpected(text, position)
    kind: TokenKind = "operator"
    if match["number"]:
        kind = "number"
    elif match["name"]:
        kind = "keyword" if match[0] in KEYWORDS else "name"
    return Token(kind, match[0], position + 1)


def _unexpected(text: str, position: int) -> ExpressionInvalidError:
    match = _JUNK.match(text, position)
    junk = match[0][:20] if match else text[position]
    hint = _HINTS.get(junk)
    return ExpressionInvalidError(
        f"{junk!a} has no place in an expression" + (f"; {hint}" if hint else ""),
        column=position + 1,
        kind="unexpected-character",
    )


def _after_blank(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position
