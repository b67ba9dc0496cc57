"""Start children in the nursery, hear from them, signal them, and learn how they ended."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO, Any, Final

START_SECONDS: Final = 60.0
KILLED: Final = -signal.SIGKILL


class ChildError(RuntimeError):
    """A child ended, or said nothing, where it should have answered."""


@dataclass(slots=True)
class Child:
    """One process of the nursery."""

    number: int
    role: str
    process_id: int = 0
    exit_code: int | None = None
    cpu_seconds: float = 0.0
    _born: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)
    _told: queue.Queue[dict[str, Any]] = field(default_factory=queue.Queue)

    @property
    def alive(self) -> bool:
        """Tell whether it still runs."""
        return not self._ended.is_set()

    @property
    def was_killed(self) -> bool:
        """Tell whether SIGKILL ended it."""
        return self.exit_code == KILLED

    def signal(self, number: int) -> None:
        """Send a signal to it and all that it started; one that has ended takes none."""
        if self._born.wait(START_SECONDS) and self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.process_id, number)

    def kill(self) -> None:
        """End it, and whatever it started, by SIGKILL."""
        if self._born.wait(START_SECONDS) and self.alive:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process_id, signal.SIGKILL)
            self.signal(signal.SIGKILL)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; tell whether it came."""
        return self._ended.wait(seconds)

    def hear(self, seconds: float) -> dict[str, Any] | None:
        """Return the next thing that it tells, None where it ended or let the time pass."""
        with suppress(queue.Empty):
            return self._told.get(timeout=seconds) or None
        return None

    def take(self, fact: Mapping[str, Any]) -> None:
        """Take in what the nursery says of it."""
        if "process_id" in fact:
            self.process_id = fact["process_id"]
            self._born.set()
        elif "told" in fact:
            self._told.put(fact["told"])
        else:
            self.exit_code, self.cpu_seconds = fact["ended"], fact["cpu"]
            self._ended.set()
            self._told.put({})


class Children:
    """The nursery's other end."""

    def __init__(self, process: subprocess.Popen[bytes], orders: IO[bytes], answers: IO[bytes]) -> None:
        """Listen to a nursery that was just started."""
        self._process, self._orders, self._answers = process, orders, answers
        self._numbers = count(1)
        self._children: dict[int, Child] = {}
        self._lock = threading.Lock()
        self.cpu_seconds: defaultdict[str, float] = defaultdict(float)
        self.ended: Counter[str] = Counter()
        self._ready = threading.Event()
        self._listener = threading.Thread(target=self._listen, name="nursery", daemon=True)
        self._listener.start()
        if not self._ready.wait(START_SECONDS) or self._process.poll() is not None:
            raise ChildError("the nursery did not start; see nursery.log")

    def start(
        self, role: str, *, failpoints: str = "", environment: Mapping[str, str] | None = None, **arguments: Any
    ) -> Child:
        """Fork a child that plays ``role`` with ``failpoints`` armed."""
        with self._lock:
            child = Child(next(self._numbers), role)
            self._children[child.number] = child
            order = {
                "number": child.number,
                "role": role,
                "failpoints": failpoints,
                "environment": dict(environment or {}),
                "arguments": arguments,
            }
            self._orders.write(json.dumps(order).encode() + b"\n")
            self._orders.flush()
        return child

    def living(self) -> list[Child]:
        """Return those that still run."""
        return [child for child in list(self._children.values()) if child.alive]

    def _listen(self) -> None:
        for line in self._answers:
            fact = json.loads(line)
            child = self._children.get(fact.get("number"))
            if child is not None:
                child.take(fact)
                if not child.alive:
                    self.cpu_seconds[child.role] += child.cpu_seconds
                    self.ended[child.role] += 1
                    del self._children[child.number]
            elif "ready" in fact:
                self._ready.set()
        self._ready.set()


@contextmanager
def nursery(folder: Path, *, worlds: Sequence[str] = (), mutants: Sequence[str] = ()) -> Iterator[Children]:
    """Yield the other end of a new nursery, in which ``mutants`` make it wrong; at the end nothing of it runs.

    What is known of ``worlds`` by heart is learnt before the first fork.

    Raises:
        ChildError: it does not start.
    """
    order = {"folder": str(folder), "worlds": list(worlds), "mutants": list(mutants)}
    with (folder / "nursery.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "torture.nursery", json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    if process.stdin is None or process.stdout is None:
        raise ChildError("the nursery has no pipes")
    try:
        yield Children(process, process.stdin, process.stdout)
    finally:
        with suppress(BrokenPipeError):
            process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
