"""Answers on their way: in Runners, in frames, in Redis, in a projector's hands.

These are the rules R1-R3, R6 and R9 in small; each is one function, so that a mutant can replace it.
"""

from __future__ import annotations

from typing import NamedTuple

from formal.rows import Truth, permitted


class Answer(NamedTuple):
    """What somebody was told. ``permits`` is a mask of instances, ``ticks`` is how long it may be acted on.

    ``age`` counts from when the question was sent, and stops at the lease. ``outdated`` tells that an increase run has
    committed another set since. ``whole`` is false where parts of two sets were written. All three are for the
    invariants only.
    """

    revision: int
    kills: int
    permits: int
    ticks: int
    age: int = 0
    outdated: bool = False
    whole: bool = True

    @property
    def lives(self) -> bool:
        """Tell whether somebody may act on it."""
        return self.permits > 0 and self.ticks > 0


def ask(truth: Truth, lease: int, mask: int) -> Answer:
    """Return what the rows say now about the instances of ``mask``."""
    return Answer(truth.revision, truth.kills, permitted(truth.content, truth.holds) & mask, lease)


def aged(answer: Answer | None, lease: int) -> Answer | None:
    """Return the answer one tick later."""
    if answer is None or not answer.ticks:
        return answer
    return answer._replace(ticks=answer.ticks - 1, age=min(answer.age + 1, lease))


def aged_copy(copy: Answer | None, lease: int) -> Answer | None:
    """Return Redis' copy one tick later; it is gone when it expires (PEXPIREAT)."""
    later = aged(copy, lease)
    return later if later is not None and later.ticks else None


def settled(answer: Answer) -> Answer:
    """Return what counts of an answer in a Runner: of one that permits nothing, only its position."""
    return answer if answer.lives else Answer(answer.revision, answer.kills, 0, 0)


def outdated(answer: Answer | None) -> Answer | None:
    """Return the answer after an increase run has committed another set."""
    return answer._replace(outdated=True) if answer is not None and answer.lives else answer


def delivered(frame: Answer) -> Answer:
    """Return the answer in a frame as the Runner counts it: its age counts (R3)."""
    return frame


def renewed(held: Answer, offered: Answer) -> Answer:
    """Return what a Runner holds after an answer came: a later position wins, of equal ones the stricter (R6)."""
    return settled(offered) if _supersedes(offered, held) else held


def _supersedes(offered: Answer, held: Answer) -> bool:
    if offered.revision != held.revision:
        return offered.revision > held.revision
    if offered.permits != held.permits and held.ticks:
        return offered.permits < held.permits
    return offered.kills >= held.kills


def written(redis: Answer | None, snapshot: Answer, lease: int) -> Answer | None:
    """Return Redis' copy after the projector's one Lua call: refused when it is too late or older (R2, R9)."""
    if not snapshot.ticks or (redis is not None and _place(redis) > _place(snapshot)):
        return redis
    return snapshot._replace(ticks=min(snapshot.ticks, lease))


def _place(answer: Answer) -> tuple[int, int]:
    return answer.revision, answer.kills
