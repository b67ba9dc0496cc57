"""Give faults their line and column, and make the error that lists them."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from qmtl_worlds.contracts.errors import PolicyInvalidError
from qmtl_worlds.contracts.faults import Fault
from qmtl_worlds.policy.places import Path, PathFault, Place, SourceTree, path_text
from qmtl_worlds.policy.suggestions import did_you_mean

MAX_FAULTS: Final = 100
"""How many faults of one text are spelled out; the rest is counted."""

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_BLOCK_HEADER = re.compile(r"[|>][^\r\n]*")


@dataclass(frozen=True, slots=True)
class LineIndex:
    """Where the lines of a text begin."""

    starts: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> LineIndex:
        """Find the lines of ``text``."""
        return cls((0, *(match.end() for match in _LINE_BREAK.finditer(text))))

    def locate(self, index: int) -> tuple[int, int]:
        """Return the 1-based line and column of the character at ``index``."""
        line = bisect_right(self.starts, index)
        return line, index - self.starts[line - 1] + 1


def text_fault(text: str, index: int, code: str, message: str) -> PolicyInvalidError:
    """Make the error of a fault that keeps the rest of the text from being read."""
    line, column = LineIndex.of(text).locate(index)
    return PolicyInvalidError([Fault(line, column, "", code, message)])


def invalid(faults: Iterable[PathFault], tree: SourceTree) -> PolicyInvalidError:
    """Make the error that lists ``faults`` in the order of the text, at most ``MAX_FAULTS`` of them."""
    lines = LineIndex.of(tree.text)
    placed = sorted(((_index_of(fault, tree), fault) for fault in faults), key=lambda pair: pair[0])
    spelled = [Fault(*lines.locate(index), *_wording(fault)) for index, fault in placed[:MAX_FAULTS]]
    if len(placed) > MAX_FAULTS:
        last = spelled[-1]
        more = f"there are {len(placed) - MAX_FAULTS} more faults"
        spelled.append(Fault(last.line, last.column + 1, "", "too-many-faults", more))
    return PolicyInvalidError(dict.fromkeys(spelled))


def line_numbers(tree: SourceTree) -> dict[str, int]:
    """Return the 1-based line on which the key of each path stands; empty where there is no text."""
    lines = LineIndex.of(tree.text)
    return {path_text(path): lines.locate(place.key)[0] for path, place in tree.places.items()}


def _wording(fault: PathFault) -> tuple[str, str, str]:
    message = fault.message
    if fault.word is not None and (guess := did_you_mean(fault.word, fault.choices)):
        message = f"{message}; did you mean {guess!r}?"
    return path_text(fault.path), fault.code, message


def _index_of(fault: PathFault, tree: SourceTree) -> int:
    if fault.index is not None:
        return fault.index
    if (place := _place_of(fault.path, tree)) is None:
        return _nearest_key(fault.path, tree)
    return place.key if fault.at_key else _index_in(tree.text, place, fault.column - 1)


def _place_of(path: Path, tree: SourceTree) -> Place | None:
    """Return the place of the value; a scalar stands for a list of one where a list of one may be written so."""
    if (place := tree.places.get(path)) is None and path[-1:] == (0,):
        above = tree.places.get(path[:-1])
        return above if above is not None and above.scalar is not None else None
    return place


def _nearest_key(path: Path, tree: SourceTree) -> int:
    for length in range(len(path) - 1, 0, -1):
        if place := tree.places.get(path[:length]):
            return place.key
    return 0


def _index_in(text: str, place: Place, offset: int) -> int:
    """Find character ``offset`` of a scalar in the text, where only quotes, folding and indentation were added.

    At a blank or past the end: just after the character before. An escape may shift the answer within the scalar.
    """
    if place.scalar is None or offset == 0:
        return _first_character(text, place)
    position = _first_character(text, place)
    for number, character in enumerate(place.scalar[: offset + 1]):
        if character.isspace():
            continue
        found = text.find(character, position, place.end)
        if found < 0:
            return place.start
        if number == offset:
            return found
        position = found + 1
    return position


def _first_character(text: str, place: Place) -> int:
    if place.scalar is None:
        return place.start
    if header := _BLOCK_HEADER.match(text, place.start, place.end):
        end = header.end()
        return next((i for i in range(end, place.end) if not text[i].isspace()), place.start)
    return place.start + (text[place.start : place.start + 1] in {'"', "'"})
