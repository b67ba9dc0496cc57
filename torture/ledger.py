"""What was committed beside what was told: each answer, copy and permission is held against the one true history.

Times are seconds of this machine's monotonic clock. A commit's ``seen_at`` lies after it, its ``at`` before it, so that
nothing is called late or early that was not. The ledger reads no clock and no database.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.lifecycle.holds import HoldKind
from torture.history import Commit

CLOCK_TOLERANCE: Final = 0.003
"""How far the database's clock and ours may be apart on one machine."""
UNPROVEN: Final = frozenset({"unconfirmed", "expired", "stale", "boot", "killed"})
"""Reasons for which an answer may be more closed than what was committed, and never more open.

Data that is not fresh, a copy that was not confirmed, a kill that only its file stands for."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One invariant that did not hold, and what shows it."""

    invariant: str
    world_id: str
    what: str
    evidence: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody was told of one instance, by whom, between ``asked`` and ``at``.

    ``stale_seconds`` is how old an answer of this source may be: 0 for a consistent read.
    """

    source: str
    world_id: str
    key: str
    position: Position
    generation: int
    active: bool
    weight: float
    asked: float
    at: float
    stale_seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Copy:
    """What Redis held of a world when it was read at ``asked``.

    ``entries`` are the weights of active members, ``unproven`` the members that are closed for one of those reasons.
    """

    world_id: str
    position: Position
    generation: int
    entries: Mapping[str, float]
    asked: float
    unproven: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Held:
    """A permission to increase risk that a Runner held up to ``until``, on an answer of ``position``."""

    runner: str
    world_id: str
    key: str
    position: Position
    generation: int
    until: float


@dataclass(slots=True)
class _World:
    positions: list[Position] = field(default_factory=list)
    commits: dict[Position, Commit] = field(default_factory=dict)
    seen_at: dict[Position, float] = field(default_factory=dict)
    floor_times: list[float] = field(default_factory=list)
    floors: list[Position] = field(default_factory=list)


class Ledger:
    """Keeps the history and judges what is put before it; what cannot be judged yet waits for the next look.

    ``members`` returns the weights of a committed generation, ``lease_seconds`` is L of every world, ``slack_seconds``
    what the protocol adds to it, ``offset`` what to add to times of the database.
    """

    def __init__(
        self,
        *,
        members: Callable[[str, int], Mapping[str, float]],
        lease_seconds: float,
        slack_seconds: float,
        offset: float = 0.0,
    ) -> None:
        """Start with an empty history."""
        self._members = members
        self._reach = lease_seconds * 1.001 + slack_seconds
        self._offset = offset
        self._worlds: dict[str, _World] = defaultdict(_World)
        self._waiting: list[Answer | Held | Copy] = []
        self.violations: list[Violation] = []

    def commit(self, commit: Commit, *, seen_at: float) -> None:
        """Add a state that was found committed at ``seen_at``."""
        world = self._worlds[commit.world_id]
        if commit.position in world.commits:
            return
        insort(world.positions, commit.position)
        world.commits[commit.position] = commit
        world.seen_at[commit.position] = seen_at
        before = self._before(world, commit.position)
        if before is not None and commit.generation < before.generation:
            self._violated("I6", commit.world_id, "the generation fell", before=before, after=commit)
        self.known(commit.world_id, commit.position, at=seen_at)

    def known(self, world_id: str, position: Position, *, at: float) -> None:
        """Note that ``position`` was known to somebody at ``at``: nobody who asks later may be told less."""
        world = self._worlds[world_id]
        place = bisect_right(world.floor_times, at)
        if place and world.floors[place - 1] >= position:
            return
        end = place
        while end < len(world.floors) and world.floors[end] <= position:
            end += 1
        world.floor_times[place:end] = [at]
        world.floors[place:end] = [position]

    def judge(self, told: Answer | Held | Copy) -> None:
        """Judge what was told, as soon as the history reaches as far."""
        self._waiting.append(told)

    def settle(self, *, looked_at: float) -> None:
        """Judge all that was told before ``looked_at``, when the last look at the history began."""
        ready = [told for told in self._waiting if _told_at(told) < looked_at]
        self._waiting = [told for told in self._waiting if _told_at(told) >= looked_at]
        for told in ready:
            match told:
                case Answer():
                    self._judge_answer(told)
                case Held():
                    self._judge_held(told)
                case Copy():
                    self._judge_copy(told)

    def latest(self, world_id: str) -> Commit | None:
        """Return the last known state of a world."""
        world = self._worlds[world_id]
        return world.commits[world.positions[-1]] if world.positions else None

    def permitted(self, commit: Commit, key: str) -> float:
        """Return the weight that ``key`` may trade in a committed state, 0 where it may not increase risk."""
        if any(scope in {"", key} for _kind, _level, scope in commit.holds) or commit.generation == 0:
            return 0.0
        return self._members(commit.world_id, commit.generation).get(key, 0.0)

    def _judge_answer(self, told: Answer) -> None:
        world = self._worlds[told.world_id]
        floor = self._floor(world, told.asked - told.stale_seconds)
        if floor is not None and told.position < floor:
            self._violated("I1/I6", told.world_id, "an answer is older than what was known", told=told, known=floor)
        commit = _committed(world, told.position)
        if commit is None:
            near = [at.text for at in world.positions if at.sequence == told.position.sequence or at > told.position][
                :4
            ]
            self._violated("I2", told.world_id, "an answer was never committed", told=told, near=near)
            return
        weight = 0.0 if told.reason in UNPROVEN else self.permitted(commit, told.key)
        if (told.generation, told.active, told.weight) != (commit.generation, weight > 0, weight):
            self._violated("I2", told.world_id, "an answer is not what was committed", told=told, commit=commit)
        if told.stale_seconds == 0:
            self.known(told.world_id, told.position, at=told.at)

    def _judge_copy(self, told: Copy) -> None:
        world = self._worlds[told.world_id]
        commit = _committed(world, told.position)
        if commit is None:
            self._violated("I2", told.world_id, "Redis holds what was never committed", told=told)
            return
        members = self._members(told.world_id, commit.generation) if commit.generation else {}
        proven = members.keys() - told.unproven
        expected = {key: weight for key in proven if (weight := self.permitted(commit, key)) > 0}
        if told.generation != commit.generation or dict(told.entries) != expected:
            self._violated("I2", told.world_id, "Redis holds a mix", told=told, commit=commit)
        after = self._after(world, told.position)
        if after is not None and told.asked > world.seen_at[after.position] + self._reach + CLOCK_TOLERANCE:
            self._violated("I1", told.world_id, "Redis holds what is dead", told=told, since=after)

    def _judge_held(self, told: Held) -> None:
        world = self._worlds[told.world_id]
        granted = _committed(world, told.position)
        if granted is None:
            self._violated("I2", told.world_id, "a permission was never committed", held=told)
            return
        later = world.positions[bisect_right(world.positions, told.position) :]
        commits = [world.commits[position] for position in later]
        weight = self.permitted(granted, told.key)
        closed = next((commit for commit in commits if self.permitted(commit, told.key) < weight), None)
        if closed is not None and told.until > world.seen_at[closed.position] + self._reach:
            self._violated("I1", told.world_id, "a permission outlived its lease", held=told, closed=closed)
        switch = next((commit for commit in commits if self._is_increase(world, commit)), None)
        if switch is not None and told.until > switch.at + self._offset + CLOCK_TOLERANCE:
            self._violated("I2", told.world_id, "a permission outlived the switch", held=told, switch=switch)

    def _is_increase(self, world: _World, commit: Commit) -> bool:
        before = self._before(world, commit.position)
        if before is None or before.generation == commit.generation:
            return False
        old = self._members(commit.world_id, before.generation) if before.generation else {}
        new = self._members(commit.world_id, commit.generation)
        return any(weight > old.get(key, 0.0) for key, weight in new.items())

    def _floor(self, world: _World, at: float) -> Position | None:
        place = bisect_right(world.floor_times, at)
        return world.floors[place - 1] if place else None

    def _before(self, world: _World, position: Position) -> Commit | None:
        place = bisect_right(world.positions, position) - 2
        return world.commits[world.positions[place]] if place >= 0 else None

    def _after(self, world: _World, position: Position) -> Commit | None:
        place = bisect_right(world.positions, position)
        return world.commits[world.positions[place]] if place < len(world.positions) else None

    def _violated(self, invariant: str, world_id: str, what: str, **evidence: object) -> None:
        shown = {name: str(value) for name, value in evidence.items()}
        self.violations.append(Violation(invariant, world_id, what, shown))


def _committed(world: _World, position: Position) -> Commit | None:
    """Return the state of a position; that of a change beside which somebody killed is made of both their rows.

    A kill waits for nobody: neither it nor a change that is under way meanwhile sees the other when it writes its row,
    and what is committed by both is in no row.
    """
    if found := world.commits.get(position):
        return found
    before = [world.commits[at] for at in world.positions if at < position]
    own = [one for one in before if _order(one.position) == _order(position)]
    kills = [one for one in before if one.position.hold_sequence == position.hold_sequence]
    if not own or not kills:
        return None
    last = own[-1]
    killed = {hold for one in kills for hold in one.holds if hold[0] == HoldKind.KILL}
    return replace(last, position=position, holds=last.holds | killed)


def _order(position: Position) -> tuple[int, int]:
    return position.incarnation, position.sequence


def _told_at(told: Answer | Held | Copy) -> float:
    match told:
        case Answer(at=at):
            return at
        case Held(until=until):
            return until
        case Copy(asked=asked):
            return asked
