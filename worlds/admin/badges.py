"""States as words with a shape and a color: never the color alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from django.utils.html import format_html
from django.utils.safestring import SafeString

from worlds.admin.words import ABSENT

Tone = Literal["good", "warn", "bad", "busy", "calm"]

SHAPES: Final[Mapping[Tone, str]] = {
    "good": "M3.5 8.5l3 3 6-7",
    "warn": "M8 2.5v7M8 12.4v1.2",
    "bad": "M4 4l8 8M12 4l-8 8",
    "busy": "M8 4v4l3 2M8 1.8a6.2 6.2 0 1 0 .1 0",
    "calm": "M4 8h8",
}
"""The strokes of each tone's icon, in a box of 16 by 16: tick, exclamation mark, cross, clock, dash."""

_TONES: Final[Mapping[str, Tone]] = {
    "open": "good",
    "has it": "good",
    "behind": "warn",
    "reduce_only": "warn",
    "closed": "bad",
    "ACTIVE": "calm",
    "SUSPENDED": "bad",
    "DELETED": "bad",
    "ok": "good",
    "inconclusive": "warn",
    "error": "bad",
    "running": "busy",
    "requested": "warn",
    "queued": "busy",
    "freezing": "busy",
    "draining": "busy",
    "frozen": "busy",
    "switched": "busy",
    "done": "good",
    "cancelled": "calm",
    "rolling_back": "busy",
    "rolled_back": "warn",
    "held": "bad",
    "in_force": "good",
    "rejected": "bad",
    "superseded": "calm",
    "live": "bad",
    "compute-only": "warn",
    "validate": "warn",
    "pass": "good",
    "fail": "bad",
    "unknown": "warn",
    "skipped": "calm",
    "promote": "good",
    "demote": "bad",
    "hold": "calm",
    "out": "calm",
    "fresh": "good",
    "stale": "warn",
    "no data": "bad",
    "granted": "good",
    "tripped": "bad",
    "near a limit": "warn",
    "in its limits": "good",
    "over its limit": "bad",
    "not measured": "calm",
    "critical": "bad",
    "warning": "warn",
    "info": "calm",
    "unseen": "bad",
    "acknowledged": "warn",
    "over": "calm",
    "stays closed": "bad",
    "in force": "warn",
    "off": "calm",
    "on": "bad",
}

_WORDS: Final = {
    "open": "open",
    "reduce_only": "reduce only",
    "requested": "waits for approval",
    "in_force": "in force",
    "rolling_back": "rolling back",
    "rolled_back": "rolled back",
    "DELETED": "archived",
    "SUSPENDED": "suspended",
    "ACTIVE": "in use",
}


@dataclass(frozen=True, slots=True)
class Badge:
    """One state: its word, its tone, and the strokes of its icon."""

    word: str
    tone: Tone

    @property
    def shape(self) -> str:
        """Return the strokes of the icon."""
        return SHAPES[self.tone]


def badge(state: str) -> Badge:
    """Return the badge of a state's code; one that is not known here stays calm."""
    return Badge(_WORDS.get(state, state), _TONES.get(state, "calm"))


def badge_html(state: str) -> SafeString:
    """Return the badge for a cell of a list."""
    shown = badge(state)
    return format_html(
        '<span class="badge badge-{}"><svg viewBox="0 0 16 16" aria-hidden="true"><path d="{}"/></svg>{}</span>',
        shown.tone,
        shown.shape,
        shown.word,
    )


def code_html(text: object) -> SafeString:
    """Return an id in the type of ids; a dash where there is none."""
    return format_html('<code class="id">{}</code>', text) if text else format_html("{}", ABSENT)
