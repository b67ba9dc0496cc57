"""Where the state machine plays: in memory with the oracle alone, or on a database beside it."""

from __future__ import annotations

import contextlib
import gc
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final, TypeVar

import redis
from django.db import transaction
from django.test import TestCase
from hypothesis.stateful import RuleBasedStateMachine, invariant

from audit.models import AuditEvent
from qmtl_worlds.contracts.digests import canonical_json
from qmtl_worlds.contracts.errors import WorldsError
from qmtl_worlds.contracts.lease import Position
from tests.faults.simulator_rows import ensure
from tests.faults.stateful_clock import START, Clock
from tests.faults.stateful_ground import Ground
from tests.faults.stateful_oracle import Oracle, set_up
from tests.faults.stateful_queries import standing, weights_of
from tests.faults.stateful_rows import KEYS, WORLD, Refused
from tests.faults.stateful_services import Services, WorkerDiedError
from tests.faults.stateful_view import Seen, View, differences, expected_view, stored_view
from tests.faults.stateful_watch import Watch, check_logs, check_origins, check_whole_audit, new_events
from worlds.services.drain_watch import FIRST_SEEN
from worlds.services.projection import project_after_commit, project_world
from worlds.stores.redis_projection import Projected, read_copy, redis_now_ms, replace_copy

Picked = TypeVar("Picked")
COPY_MS: Final = 60_000
_PROJECTS: Final = project_after_commit.__qualname__


@dataclass(slots=True)
class Record:
    """What was played: how many steps of which rule, which outcomes and states were met, and the digest of it all."""

    steps: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    trace: Any = field(default_factory=hashlib.sha256)

    def saw(self, view: View) -> None:
        """Count a step, and add what was seen to the trace."""
        self.steps += 1
        self.states.update(run[0][1] for run in view["runs"].values())
        self.trace.update(canonical_json(view))

    @property
    def digest(self) -> str:
        """Return the digest of every state that was seen, in order."""
        return str(self.trace.hexdigest())


@dataclass(frozen=True, slots=True)
class Stage:
    """Where to play: without a database where ``redis`` is None."""

    ground: Ground
    clock: Clock
    record: Record
    redis: redis.Redis | None = None


class Reality:
    """One history on a database, which is taken back at its end: the services' transactions are savepoints in it."""

    def __init__(self, ground: Ground, clock: Clock, client: redis.Redis) -> None:
        self._services, self._redis = Services(ground, clock), client
        last = AuditEvent.objects.filter(chain=WORLD).latest("seq")
        self._chain = {"seq": str(last.seq), "hash": last.hash, "sequence": str(ground.sequence)}
        self._copies: list[Projected] = []
        self._told: dict[Position, tuple[int, dict[str, float]]] = {}
        self._origins = 0
        client.flushall()
        FIRST_SEEN.clear()
        self._history = contextlib.ExitStack()
        self._history.enter_context(transaction.atomic())
        self._history.enter_context(self._services.listening())
        self._remember()

    def end(self) -> None:
        """Verify all that was written, and take it back."""
        with self._history:
            check_whole_audit()
            transaction.get_connection().check_constraints()
            transaction.set_rollback(True)
        gc.collect()

    def act(self, verb: str, arguments: tuple[object, ...], named: dict[str, object]) -> str:
        """Do one act; what waits for its commit happens right after."""
        with TestCase.captureOnCommitCallbacks() as waiting:
            outcome = outcome_of(self._services, verb, arguments, named)
        projections = [place for place, callback in enumerate(waiting) if _PROJECTS in str(callback)]
        for place, callback in enumerate(waiting):
            if place not in projections[:-1]:  # each would copy the same rows
                callback()
        self._remember()
        return outcome

    def view(self, seen: Seen, asked: Sequence[int] | None) -> View:
        """Return what is stored, once its logs, its origins and its copy in Redis have been found sound."""
        news = new_events(self._chain)
        view = stored_view(seen, news, self._services.bells, asked)
        check_logs(self._chain, news, sequence=view["world"][1])
        if view["world"][0] != self._origins:
            self._origins = view["world"][0]
            check_origins(self._origins)
        self._check_copy()
        return view

    def wipe(self) -> None:
        """Lose all of Redis."""
        self._redis.flushall()

    def fail_over(self) -> None:
        """Let a replica that lags take over: the copy is an old one."""
        self._redis.flushall()
        for copy in self._copies[-3:-2]:
            replace_copy(
                world_id=WORLD,
                position=copy.position,
                deadline_ms=redis_now_ms() + COPY_MS,
                meta=copy.meta,
                entries=copy.entries,
            )

    def project(self) -> None:
        """Renew the copy, as the tick does; whatever Redis held, it now holds what is committed (I26)."""
        done, copy = project_world(world_id=WORLD), read_copy(WORLD)
        ensure("I26", holds=done and copy is not None, says="no copy was made")
        ensure("I26", holds=copy is not None and copy.position == standing()[0], says="an old copy")

    def _remember(self) -> None:
        """Note which set stands at this position."""
        position, generation = standing()
        if position not in self._told:
            self._told[position] = (generation, weights_of(generation))

    def _check_copy(self) -> None:
        """Whatever the copy is of, it is exactly one committed set (I2)."""
        copy = read_copy(WORLD)
        if copy is None:
            return
        if not self._copies or copy.position != self._copies[-1].position:
            self._copies.append(copy)
        generation, weights = self._told[copy.position]
        ensure("I2", holds=copy.meta["generation"] == generation, says="the copy is of another generation")
        ensure("I2", holds=copy.entries.keys() == weights.keys(), says="the copy has other members")
        for key, entry in copy.entries.items():
            expected = weights[key] if entry["active"] else 0.0
            ensure("I2", holds=entry["weight"] == expected, says=f"the copy has another weight for {key}")


def outcome_of(side: object, verb: str, arguments: tuple[object, ...], named: dict[str, object]) -> str:
    """Do an act, and return its answer or the class of error with which it was refused."""
    try:
        return str(getattr(side, verb)(*arguments, **named))
    except Refused as refusal:
        return str(refusal)
    except (WorldsError, WorkerDiedError) as error:
        return type(error).__name__


class Staged(RuleBasedStateMachine):
    """A machine that does every act on all sides, and compares after every step what can be seen of them."""

    stage: ClassVar[Stage]

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.record = self.stage.clock, self.stage.record
        self.clock.now, self.clock.monotonic = START, 1000.0
        self.clock.tell()
        ground = self.stage.ground
        self.oracle = Oracle(self.clock, ground.checksums)
        set_up(self.oracle, sequence=ground.sequence)
        self._seen = Seen(ground.sequence)
        self._asked_at: tuple[int, datetime] | None = None
        self._watch, self._verbs, self._names = Watch(), set[str](), Counter[str]()
        self._real = None if self.stage.redis is None else Reality(ground, self.clock, self.stage.redis)

    def teardown(self) -> None:
        """Verify the whole audit, and take the history back."""
        if self._real is not None:
            self._real.end()

    def act(self, verb: str, *arguments: object, **named: object) -> None:
        """Do one act on every side; all must answer the same."""
        expected = outcome_of(self.oracle, verb, arguments, named)
        if self._real is not None:
            found = self._real.act(verb, arguments, named)
            assert found == expected, f"{verb}{arguments}{named}: the service says {found}, the oracle {expected}"
        self._verbs.add(verb)
        self.record.outcomes[f"{verb} {expected}"] += 1

    @invariant()
    def all_sides_agree(self) -> None:
        """Compare what is stored with what must be stored, and ask the invariants of it."""
        asked = self._questions()
        view = expected_view(self.oracle, self._seen, asked)
        if self._real is not None:
            stored = self._real.view(self._seen, asked)
            assert not (found := differences(stored, view)), f"stored and expected: {found}"
            view = stored
        self._watch.look(view, self._verbs)
        self._seen.move(view)
        self._verbs.clear()
        self.record.saw(view)

    def _questions(self) -> Sequence[int] | None:
        """Return who is asked for: one and all by turns, and nobody in between or where nothing has moved."""
        before, self._asked_at = self._asked_at, (self.oracle.sequence, self.clock.now)
        turn = self.record.steps
        if before == self._asked_at or turn % 2:
            return ()
        return (turn // 4 % len(KEYS),) if turn % 4 else None

    def new_id(self, kind: str) -> str:
        """Name something new: ``run-1``, ``run-2``."""
        self._names[kind] += 1
        return f"{kind}-{self._names[kind]}"

    def pick(self, among: Sequence[Picked], place: int) -> Picked:
        """Return the one at a drawn place."""
        return among[place % len(among)]

    def with_copy(self, act: Callable[[Reality], None]) -> None:
        """Do something to the copy in Redis, where there is one."""
        if self._real is not None:
            act(self._real)
