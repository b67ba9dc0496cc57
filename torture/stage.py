"""What all threads of a storm share: the children, the figures, what is still to be hit, and when to stop."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from django.db import DatabaseError, InterfaceError, connection

from torture.children import KILLED, Child, Children
from torture.standing import Standing
from torture.tally import Tally

Read = TypeVar("Read")
PATIENCE_SECONDS: Final = 60.0
HIT_COUNTS: Final = 2
"""A point that was hit counts as tried so many times more."""


class StoppedError(Exception):
    """The storm is over; whatever was under way is left as it is."""


@dataclass(slots=True)
class Stage:
    """Shared by the threads of a storm. ``ready_to_stop`` ends new episodes, ``stopped`` everything."""

    children: Children
    tally: Tally
    folder: Path
    servers: tuple[str, ...]
    tokens: dict[str, str]
    lease_seconds: float
    points: tuple[str, ...]
    standing: Standing
    action: str = ""
    gentle: bool = False
    weather: bool = False
    kill_share: float = 0.15
    rival_share: float = 0.0
    post_share: float = 0.0
    twin: str = ""
    rest: float = 0.0
    ready_to_stop: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    acked: list[tuple[str, str, str]] = field(default_factory=list)
    tried: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_point(self, dice: random.Random, *, fits: Callable[[str], bool]) -> str:
        """Return one of the points that were tried least, of those that fit; what was hit is tried a third as often."""
        hits = self._hits()
        with self._lock:
            points = [point for point in self.points if fits(point)] or self.points
            worn = {point: self.tried[point] + HIT_COUNTS * hits[point] for point in points}
            least = min(worn.values())
            point = dice.choice([point for point in points if worn[point] == least])
            self.tried[point] += 1
            return point

    def act(self, verb: str, world_id: str, *, failpoints: str = "", **words: Any) -> dict[str, Any] | None:
        """Let a process of its own do one act; None where it broke before it could tell, ``killed`` where it died."""
        return self.outcome(verb, self.begin(verb, world_id, failpoints=failpoints, **words))

    def begin(self, verb: str, world_id: str, *, failpoints: str = "", **words: Any) -> Child:
        """Start a process that does one act."""
        return self.children.start("operator", failpoints=failpoints, verb=verb, world_id=world_id, **words)

    def outcome(self, verb: str, child: Child) -> dict[str, Any] | None:
        """Return how an act was answered, as ``act`` does."""
        answer = child.hear(PATIENCE_SECONDS)
        self.over(child)
        if answer is not None and "refused" in answer:
            self.tally.count(f"refused {verb}: {answer['refused']}")
        if child.exit_code not in {0, KILLED}:
            self.tally.count(f"broke {verb}")
        return {"killed": True} if answer is None and child.was_killed else answer

    def insist(self, verb: str, world_id: str, **words: Any) -> dict[str, Any]:
        """Do an act until it is answered, always as the same request."""
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            answer = self.act(verb, world_id, **words)
            if answer is not None and "killed" not in answer:
                return answer
            self.pause(0.2)
        self.tally.problem("stuck", f"{verb} was never answered", world=world_id)
        raise StoppedError

    def was_answered_rightly(self, point: str, *, replayed: bool) -> bool:
        """Tell whether an answer may be, or not be, one given before, after a first try that died at ``point``.

        In bad weather the answer to a second try may have been lost on its way, so that this is the one to a third.
        """
        return replayed if "after_commit" in point else self.weather or not replayed

    def over(self, child: Child) -> None:
        """Wait for a child's end; one that hangs is ended."""
        if not child.wait(PATIENCE_SECONDS):
            child.kill()
            child.wait(5)

    def read(self, query: Callable[[], Read]) -> Read:
        """Read rows, as soon as the database lets itself be read."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return query()
            except (DatabaseError, InterfaceError):
                connection.close()
                if time.monotonic() > until:
                    raise
                self.pause(0.2)

    def pause(self, seconds: float) -> None:
        """Wait, unless the storm is over.

        Raises:
            StoppedError: it is.
        """
        if self.stopped.wait(seconds):
            raise StoppedError

    def acknowledge(self, world_id: str, run_id: str, digest: str) -> None:
        """Note that a request was answered: it must never be lost, nor turn into another."""
        with self._lock:
            self.acked.append((world_id, run_id, digest))

    def faults(self) -> list[tuple[str, str]]:
        """Return what happened at failpoints so far: the action and the point of each."""
        log = self.folder / "failpoints.log"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        return [(action, point) for _at, _process, action, point in (line.split() for line in lines)]

    def _hits(self) -> Counter[str]:
        return Counter(point for action, point in self.faults() if action == "kill")

    def note_position(self, world_id: str, answer: dict[str, Any]) -> None:
        """Tell the observer what an operator was told just now: no later reader may be told less."""
        line = {"world": world_id, "at": time.monotonic(), "position": [answer["incarnation"], answer["sequence"], 0]}
        with self._lock, (self.folder / "acks.jsonl").open("ab", buffering=0) as acks:
            acks.write(json.dumps(line).encode() + b"\n")
