"""A process that looks at everything from outside: the history, the API, Redis and what Runners held."""

from __future__ import annotations

import json
import math
import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, connection

from qmtl_worlds.contracts.errors import StoreUnavailableError, WorldsError
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.sdk.client import WorldsClient
from qmtl_worlds.sdk.errors import SdkError
from torture.fencing import Fences
from torture.history import Commit, HistoryReader, clock_offset
from torture.ledger import UNPROVEN, Answer, Copy, Held, Ledger, Violation
from torture.people import MEMBERS
from worlds.models import ActivationEntry
from worlds.stores.redis_projection import read_copy

TELL_SECONDS: Final = 1.0
COPIES_A_TURN: Final = 10
ASKERS: Final = 2
ASKING_PAUSE_SECONDS: Final = 0.02
SENDING_TOLERANCE: Final = 0.02
Tell = Callable[[dict[str, Any]], None]


class Observer:
    """Looks around in turns; whatever does not answer is counted, never taken for right."""

    def __init__(self, words: Mapping[str, Any]) -> None:
        """Watch the worlds that ``words`` names."""
        self._asking = Asking(words["server"], words["token"], words["worlds"])
        self._folder = Path(words["folder"])
        self._lease = words["lease_ms"] / 1000
        self._members: dict[tuple[str, int], dict[str, float]] = {}
        self._worlds = cycle(words["worlds"])
        self._watched = frozenset(words["worlds"])
        self._reader = HistoryReader()
        self._tails = Tails(self._folder)
        self._held: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._remembered: dict[tuple[str, str, str, int], Position] = {}
        self._found: list[Violation] = []
        self.counts: Counter[str] = Counter()
        self.fences = Fences()
        self.ledger = Ledger(
            members=self._members_of,
            lease_seconds=self._lease,
            slack_seconds=words["slack_seconds"],
            offset=clock_offset(),
        )

    @property
    def violations(self) -> list[Violation]:
        """Return everything that did not hold."""
        return [*self.ledger.violations, *self.fences.violations, *self._found]

    def turn(self) -> None:
        """Look at everything once."""
        self._take_answers()
        for _ in range(COPIES_A_TURN):
            self._look_at_redis(next(self._worlds))
        self._read_logs()
        self._look_at_history()

    def finish(self) -> None:
        """Judge what is still held, once all of it has ended."""
        for line in self._held.values():
            self._note_held(line, until=line["deadline"])
        self._held.clear()
        until = time.monotonic() + 2 * self._lease
        while time.monotonic() < until:
            self._look_at_history()
            time.sleep(0.1)

    def _look_at_history(self) -> None:
        looked_at = time.monotonic()
        try:
            self._take_commits(self._reader.commits())  # at once: they are read but once
            steps = self._reader.steps()
        except (DatabaseError, InterfaceError):
            self.counts["history_away"] += 1
            connection.close()
            return
        for step in steps:
            if step.world_id in self._watched:
                self.fences.step(step)
        with suppress(DatabaseError, InterfaceError):
            self.ledger.settle(looked_at=looked_at)

    def _take_commits(self, commits: Sequence[Commit]) -> None:
        seen_at = time.monotonic()
        for commit in commits:
            if commit.world_id in self._watched:
                self.ledger.commit(commit, seen_at=seen_at)
        self.counts["commits"] += len(commits)

    def _take_answers(self) -> None:
        """Take in what the API was asked and answered since the last turn."""
        while not self._asking.answers.empty():
            answer = self._asking.answers.get()
            self.counts["api_reads" if answer else "api_away"] += 1
            if answer is not None:
                self.ledger.judge(answer)

    def _look_at_redis(self, world_id: str) -> None:
        asked = time.monotonic()
        try:
            copy = read_copy(world_id)
        except StoreUnavailableError:
            self.counts["redis_away"] += 1
            return
        self.counts["redis_reads"] += 1
        if copy is None:
            self.counts["redis_empty"] += 1
            return
        weights = {key: _number(one["weight"]) for key, one in copy.entries.items() if one["active"]}
        unproven = frozenset(key for key, one in copy.entries.items() if one["reason"] in UNPROVEN)
        generation = int(_number(copy.meta["generation"]))
        self.ledger.judge(Copy(world_id, copy.position, generation, weights, asked, unproven))

    def _read_logs(self) -> None:
        for name, line in self._tails.lines("runner-*.jsonl"):
            if "late" in line:
                self._found.append(Violation("I8", line["world"], "a gate was open past its lease", line))
            else:
                self._take_poll(name, line)
        for _name, line in self._tails.lines("acks.jsonl"):
            self.ledger.known(line["world"], Position(*line["position"]), at=line["at"])

    def _take_poll(self, runner: str, line: dict[str, Any]) -> None:
        """Take in one poll of a gate: what it ended, what it was told, what is held from now on."""
        self.counts["gate_polls"] += 1
        place = (runner, line["world"], line["key"])
        before = self._held.pop(place, None)
        self._check_memory(place, line)
        if before is not None:
            self._note_held(before, until=min(before["deadline"], line["at"]))
        if line["open"]:
            self._held[place] = line
        promised = line["asked"] + line["lease_ms"] / 1000 + SENDING_TOLERANCE
        earlier = before["deadline"] if before else 0.0
        if line["open"] and line["deadline"] > max(promised, earlier):
            self._found.append(Violation("I8", line["world"], "a gate holds longer than promised", line))
        if (told := line["told"]) is not None and not line["failed"]:
            facts = (Position(*told["position"]), told["generation"], told["active"], told["weight"])
            left = line["lease_ms"] / 1000
            times = (line["asked"], line["at"], self._lease - left if left > 0 else math.inf)
            self.ledger.judge(Answer(runner, line["world"], line["key"], *facts, *times, told["reason"]))

    def _check_memory(self, place: tuple[str, str, str], line: dict[str, Any]) -> None:
        """A gate that has seen a position never goes back behind it (I6); a new process has a new gate."""
        if line["answer"] is None:
            return
        memory, position = (*place, line["process"]), Position(*line["answer"]["position"])
        if position < self._remembered.get(memory, position):
            told = {"held": line["answer"], "seen": self._remembered[memory].text}
            self._found.append(Violation("I6", line["world"], "a gate went back to an older answer", told))
        self._remembered[memory] = position

    def _note_held(self, line: Mapping[str, Any], *, until: float) -> None:
        self.counts["permissions"] += 1
        position = Position(*line["answer"]["position"])
        generation = line["answer"]["generation"]
        self.ledger.judge(Held("runner", line["world"], line["key"], position, generation, until))

    def _members_of(self, world_id: str, generation: int) -> dict[str, float]:
        place = (world_id, generation)
        if place not in self._members:
            entries = ActivationEntry.objects.filter(set__world_id=world_id, set__generation=generation)
            rows = entries.values_list("instance__strategy_id", "instance__side", "weight")
            self._members[place] = {f"{name}|{side}": weight for name, side, weight in rows}
        return self._members[place]


class Asking:
    """Threads that ask the API for consistent reads, so that a slow answer delays no other look."""

    def __init__(self, server: str, token: str, worlds: Sequence[str]) -> None:
        """Begin to ask."""
        self.answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._client = WorldsClient(server, token, timeout_seconds=2.0)
        for number in range(ASKERS):
            keys = [(world, name) for name in MEMBERS for world in worlds][number::ASKERS]
            threading.Thread(target=self._ask, args=(cycle(keys),), daemon=True).start()

    def _ask(self, keys: Iterator[tuple[str, str]]) -> None:
        for world_id, name in keys:
            self.answers.put(self._answer(world_id, name))
            time.sleep(ASKING_PAUSE_SECONDS)

    def _answer(self, world_id: str, name: str) -> Answer | None:
        asked = time.monotonic()
        try:
            envelope = self._client.activation(world_id, name, "long", consistent=True).envelope
        except (SdkError, WorldsError):
            return None
        if envelope is None or (position := envelope.position) is None:
            return None
        told = (position, envelope.generation, envelope.active, envelope.weight, asked, time.monotonic())
        return Answer("api", world_id, f"{name}|long", *told, reason=envelope.reason)


class Tails:
    """Reads what is appended to files, line by line."""

    def __init__(self, folder: Path) -> None:
        """Read files of ``folder``."""
        self._folder = folder
        self._read: dict[Path, int] = {}

    def lines(self, pattern: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield what is new in the files that match, with the file's name; a line that is not whole yet waits."""
        for path in sorted(self._folder.glob(pattern)):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                whole, _, _ = (data := file.read()).rpartition(b"\n")
            if data and whole:
                self._read[path] = self._read.get(path, 0) + len(whole) + 1
                for line in whole.split(b"\n"):
                    yield path.stem, json.loads(line)


def observe(tell: Tell, words: Mapping[str, Any]) -> None:
    """Watch until asked to stop; tell the counts each second, and at the end."""
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    observer = Observer(words)
    due = 0.0
    while not stopped.is_set() and not observer.violations:
        observer.turn()
        if time.monotonic() >= due:
            tell(_account(observer))
            due = time.monotonic() + TELL_SECONDS
        stopped.wait(words.get("every", 0.01))
    observer.finish()
    tell(_account(observer) | {"finished": True})


def _account(observer: Observer) -> dict[str, Any]:
    found = observer.violations
    shown = [
        {
            "invariant": one.invariant,
            "world": one.world_id,
            "what": one.what,
            "evidence": str(dict(one.evidence))[:1200],
        }
        for one in found[:2]
    ]
    return {"counts": dict(observer.counts), "violation_count": len(found), "violations": shown}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
