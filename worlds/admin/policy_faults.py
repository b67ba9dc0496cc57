"""The faults of a policy beneath the lines that have them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from qmtl_worlds.contracts.faults import Fault

_WIDTH: Final = 160
_BEFORE: Final = 60


@dataclass(frozen=True, slots=True)
class ShownFault:
    """A fault, its line of the text, and a line of blanks with a caret beneath the place.

    Of a long line only the part around the place is shown.
    """

    fault: Fault
    text: str
    caret: str


def shown_faults(text: str, faults: Iterable[Fault]) -> list[ShownFault]:
    """Return the faults in the order of the text; one that is of the whole document has no line."""
    lines = text.splitlines()
    return [_shown(fault, lines) for fault in sorted(faults)]


def _shown(fault: Fault, lines: list[str]) -> ShownFault:
    if not 1 <= fault.line <= len(lines):
        return ShownFault(fault, "", "")
    line, place = lines[fault.line - 1], max(fault.column - 1, 0)
    start = max(place - _BEFORE, 0) if len(line) > _WIDTH else 0
    shown = line[start : start + _WIDTH].replace("\t", " ")
    return ShownFault(fault, shown, " " * (min(place, len(line)) - start) + "^")
