"""Guess what a misspelled name meant."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

_LONGEST_WORD: Final = 64


def did_you_mean(word: str, choices: Sequence[str]) -> str | None:
    """Return the choice most like ``word``, None where none is; choices and long words are no misspellings."""
    if len(word) > _LONGEST_WORD or word in choices:
        return None
    return next(iter(get_close_matches(word.lower(), choices, n=1, cutoff=0.6)), None)
