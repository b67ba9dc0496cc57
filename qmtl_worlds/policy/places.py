"""Plain values together with where they stand in a text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

Path = tuple[str | int, ...]

ABSENT: Final = object()
"""Stands for a value whose key is not there."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_LONGEST_KEY: Final = 40


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands, as indices into the text.

    ``key`` is where its key begins (the value itself in lists), ``start`` to ``end`` a scalar with its quotes or the
    opening of a collection, ``scalar`` the text that a scalar means, None for collections.
    """

    key: int
    start: int
    end: int
    scalar: str | None = None


@dataclass(frozen=True, slots=True)
class PathFault:
    """A fault before it has a line.

    It stands at ``index`` of the text, else at ``column`` (1-based) of the value at ``path``, or at its key;
    ``word`` may be a misspelling of one of ``choices``.
    """

    path: Path
    code: str
    message: str
    index: int | None = None
    at_key: bool = False
    column: int = 1
    word: str | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceTree:
    """Plain values and the places they came from; ``text`` is empty where they came as JSON values.

    At and below a path in ``broken`` a value is missing because of a fault that ``faults`` holds already.
    """

    value: object
    text: str = ""
    places: dict[Path, Place] = field(default_factory=dict)
    faults: tuple[PathFault, ...] = ()
    broken: frozenset[Path] = frozenset()

    def is_broken(self, path: Path) -> bool:
        """Tell whether ``path`` is at or below a broken one."""
        return any(path[:length] in self.broken for length in range(len(path) + 1))

    def value_at(self, path: Path) -> object:
        """Return the value at a path of keys, ``ABSENT`` without its last key, None where a section is no mapping."""
        value = self.value
        for step in path:
            if not isinstance(value, dict):
                return None
            if step not in value:
                return ABSENT
            value = value[step]
        return value


def path_text(path: Path) -> str:
    """Write a path as people read it: ``selection.gates.and[1]``; odd keys are quoted and shortened."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif _PLAIN_KEY.fullmatch(step):
            parts.append(f".{step}" if parts else step)
        else:
            parts.append(f"[{step[:_LONGEST_KEY]!a}]")
    return "".join(parts)
