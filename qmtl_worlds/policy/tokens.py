"""Cut an expression into tokens; ASCII only, so that no look-alike letter ever passes for another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from qmtl_worlds.contracts.errors import ExpressionInvalidError

MAX_CHARACTERS: Final = 512

_BLANKS: Final = " \t\n"
_TOKEN = re.compile(
    r"""
    [ \t\n]*
    (?:
        (?P<number> (?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)? (?![A-Za-z0-9_.]) )
      | (?P<keyword> (?:and|or|not)(?![A-Za-z0-9_.]) )
      | (?P<name> [A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)* )
      | (?P<operator> <= | >= | == | != | [-+*/<>(),] )
    )
    """,
    re.VERBOSE,
)
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
    """A piece of an expression; ``column`` is 1-based.

    ``kind`` is ``number``, ``keyword``, ``name``, ``operator``, or ``end`` with an empty text.
    """

    kind: str
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
    end = len(text.rstrip(_BLANKS))
    tokens: list[Token] = []
    position = 0
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unexpected(text, position)
        kind = match.lastgroup or ""
        tokens.append(Token(kind, match[kind], match.start(kind) + 1))
        position = match.end()
    return (*tokens, Token("end", "", end + 1))


def _unexpected(text: str, position: int) -> ExpressionInvalidError:
    position = len(text) - len(text[position:].lstrip(_BLANKS))
    match = _JUNK.match(text, position)
    junk = match[0][:20] if match else text[position]
    hint = _HINTS.get(junk)
    return ExpressionInvalidError(
        f"{junk!a} has no place in an expression" + (f"; {hint}" if hint else ""),
        column=position + 1,
        kind="unexpected-character",
    )
