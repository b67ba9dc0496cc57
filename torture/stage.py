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


class StoppedError(Exception):
    """The storm is over; whatever was under way is left as it is."""


@dataclass(slots=True)
class Stage:
    """Shared by the threads of a storm. ``ready_to_stop`` ends new episodes, ``stopped`` everything."""

    children: Children
    tally: Tally
    folder: Path
    server: str
    tokens: dict[str, str]
    lease_seconds: float
    points: tuple[str, ...]
    standing: Standing
    action: str = ""
    gentle: bool = False
    weather: bool = False
    kill_share: float = 0.15
    ready_to_stop: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    acked: list[tuple[str, str, str]] = field(default_factory=list)
    tried: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_point(self, dice: random.Random) -> str:
        """Return one of the points that were tried least."""
        with self._lock:
            least = min(self.tried[point] for point in self.points)
            point = dice.choice([point for point in self.points if self.tried[point] == least])
            self.tried[point] += 1
            return point

    def act(self, verb: str, world_id: str, *, failpoints: str = "", **words: Any) -> dict[str, Any] | None:
        """Let a process of its own do one act; None where it broke before it could tell, ``killed`` where it died."""
        child = self.children.start("operator", failpoints=failpoints, verb=verb, world_id=world_id, **words)
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

    def note_position(self, world_id: str, answer: dict[str, Any]) -> None:
        """Tell the observer what an operator was told just now: no later reader may be told less."""
        line = {"world": world_id, "at": time.monotonic(), "position": [answer["incarnation"], answer["sequence"], 0]}
        with self._lock, (self.folder / "acks.jsonl").open("ab", buffering=0) as acks:
            acks.write(json.dumps(line).encode() + b"\n")
