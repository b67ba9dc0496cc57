"""The oracle's books: what a world's rows must say, kept in plain Python, apart from the product's code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.plans import ActiveSet, ChangeReason, active_set
from qmtl_worlds.contracts.states import EXCLUSIVE_STATES, RunKind, RunState
from qmtl_worlds.lifecycle.budget import Caps
from qmtl_worlds.lifecycle.holds import Hold, HoldKind, make_hold
from qmtl_worlds.lifecycle.run import RunView
from tests.faults.stateful_clock import Clock

WORLD: Final = "w1"
NAMES: Final = ("ant", "bee", "cat", "dog", "eel")
KEYS: Final = tuple(InstanceKey(name, Side.SHORT if name == "eel" else Side.LONG) for name in NAMES)
BAR: Final = timedelta(seconds=60)
MAX_LAG: Final = timedelta(minutes=10)
MOST_LOSS: Final = 0.2
WARN_AT: Final = 0.8
CONFIRMED_BY: Final = 2
CAPS: Final = Caps(
    total=4,
    by_side={Side.LONG: 3, Side.SHORT: 1},
    gross={Side.LONG: 0.6, Side.SHORT: 0.3},
    max_leverage=1.0,
    assumed_leverage=1.0,
)


class Refused(Exception):  # noqa: N818 the name of the product's own error is the message
    """The oracle says no; the text is the class of error that the product must raise."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a policy version says of applies."""

    approvals: int = 1
    auto: bool = False
    expiry: timedelta = timedelta(hours=24)
    flat: bool = False
    circuit: bool = True


POLICIES: Final = {
    1: Terms(),
    2: Terms(auto=True, expiry=timedelta(minutes=5), circuit=False),
    3: Terms(approvals=2, flat=True),
}


@dataclass(frozen=True, slots=True)
class Instance:
    """One bound strategy; ``last`` is when its data ends."""

    number: int
    key: InstanceKey
    params: int
    bound_at: datetime
    wanted: bool = True
    withdrawn_at: datetime | None = None
    last: datetime | None = None

    @property
    def fresh_until(self) -> datetime | None:
        return None if self.last is None else self.last + BAR + MAX_LAG


@dataclass(frozen=True, slots=True)
class Seat:
    """One entry of a committed set."""

    instance: int
    weight: float
    since: datetime
    chosen_by: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What an evaluation found: the set, what is left at once, who passes, why members leave."""

    after: ActiveSet
    reduced: ActiveSet
    ranks: tuple[InstanceKey, ...]
    reasons: tuple[tuple[InstanceKey, ChangeReason], ...] = ()
    ok: bool = True


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A recorded evaluation, and what it started from."""

    run_id: str
    number: int
    decision: Decision
    as_of: datetime
    started_at: datetime
    generation: int
    policy: int


@dataclass(frozen=True, slots=True)
class Run:
    """An apply run; ``request`` is what a repeated id is compared with, ``approvals`` who said yes."""

    view: RunView
    request: tuple[object, ...]
    policy: int
    evaluation: str
    requester: str
    auto: bool
    expires_at: datetime
    reduce_run: str = ""
    rollback_to: int | None = None
    approvals: tuple[str, ...] = ()
    reason: str = ""
    result: Mapping[str, object] | None = None
    target: int | None = None

    @property
    def is_exclusive(self) -> bool:
        return self.view.kind is RunKind.INCREASE and self.view.state in EXCLUSIVE_STATES

    @property
    def waits(self) -> bool:
        return self.view.kind is RunKind.INCREASE and self.view.state is RunState.REQUESTED


@dataclass(frozen=True, slots=True)
class Placed:
    """A hold with who placed it when."""

    hold: Hold
    at: datetime
    by: str
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Layer:
    """What an operator laid over an instance; ``number`` is the row's, which a change keeps."""

    number: int
    cap: float
    freeze: bool
    expires_at: datetime | None
    by: str = ""
    at: datetime | None = None
    stays_closed: bool = False

    @property
    def permits(self) -> tuple[float, bool, datetime | None]:
        return self.cap, self.freeze, self.expires_at


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request to open what is closed; ``about`` says what exactly, so that a grant can tell whether it still is."""

    number: int
    subject: str
    key: InstanceKey | None
    about: tuple[object, ...]
    requester: str
    state: str = "requested"
    decider: str = ""


@dataclass(frozen=True, slots=True)
class Circuit:
    """What the circuit remembers of the equity that was sent."""

    incident: str = ""
    breaching: int = 0
    last: datetime | None = None
    warned: bool = False
    mark: float | None = None
    mark_at: datetime | None = None


HoldName = tuple[HoldKind, str, InstanceKey | None]


@dataclass(slots=True)
class Rows:
    """Everything that is committed; the values are frozen, so that a copy of the dictionaries is a snapshot."""

    instances: dict[int, Instance] = field(default_factory=dict)
    sets: dict[int, tuple[str, dict[InstanceKey, Seat]]] = field(default_factory=lambda: {0: ("", {})})
    runs: dict[str, Run] = field(default_factory=dict)
    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    holds: dict[HoldName, Placed] = field(default_factory=dict)
    demotions: dict[int, datetime] = field(default_factory=dict)
    outbox: list[tuple[str, datetime]] = field(default_factory=list)
    audit: list[tuple[str, str, str]] = field(default_factory=list)
    bells: list[str] = field(default_factory=list)
    kills: list[str] = field(default_factory=list)
    wanted: list[Wanted] = field(default_factory=list)
    layers: dict[InstanceKey, Layer] = field(default_factory=dict)
    layers_made: int = 0
    equity: dict[datetime, float] = field(default_factory=dict)
    circuit: Circuit | None = None
    heard: tuple[int, int] | None = None
    suspended: bool = False
    leases: list[tuple[datetime, int]] = field(default_factory=list)
    roster: tuple[str, ...] | None = None
    lease_ms: int = 5000
    policy: int = 1
    paused: bool = False
    pin: int | None = None
    kills_told: int = 0

    def copy(self) -> Rows:
        return replace(
            self,
            instances=self.instances.copy(),
            sets=self.sets.copy(),
            runs=self.runs.copy(),
            evaluations=self.evaluations.copy(),
            holds=self.holds.copy(),
            demotions=self.demotions.copy(),
            outbox=self.outbox.copy(),
            audit=self.audit.copy(),
            bells=self.bells.copy(),
            kills=self.kills.copy(),
            wanted=self.wanted.copy(),
            layers=self.layers.copy(),
            equity=self.equity.copy(),
            leases=self.leases.copy(),
        )

    @property
    def generation(self) -> int:
        return max(self.sets)

    @property
    def seats(self) -> dict[InstanceKey, Seat]:
        return self.sets[self.generation][1]

    @property
    def held(self) -> frozenset[Hold]:
        """Return what holds gates: what was placed, and that the world is suspended."""
        suspended = {make_hold(HoldKind.SUSPENDED, WORLD)} if self.suspended else set()
        return frozenset(placed.hold for placed in self.holds.values()) | suspended

    def set_of(self, generation: int) -> ActiveSet:
        return active_set({key: seat.weight for key, seat in self.sets[generation][1].items()})

    def bound(self, key: InstanceKey) -> Instance | None:
        return next((one for one in self.instances.values() if one.key == key and one.withdrawn_at is None), None)

    def newest_ok(self) -> Evaluation | None:
        decided = [one for one in self.evaluations.values() if one.decision.ok]
        return max(decided, key=lambda one: (one.as_of, one.number), default=None)

    def busy(self) -> Run | None:
        return next((run for run in self.runs.values() if run.is_exclusive), None)

    def put(self, run: Run) -> Run:
        self.runs[run.view.run_id] = run
        return run


class Books:
    """The committed rows, and how they change: all of an act, or nothing."""

    def __init__(self, clock: Clock) -> None:
        self.rows = Rows()
        self.clock = clock

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Take back everything that was written where the act is refused or breaks."""
        before = self.rows.copy()
        try:
            yield
        except Exception:
            self.rows = before
            raise

    def announce(self, kind: str) -> None:
        self.rows.outbox.append((kind, self.clock.now))

    def record(self, kind: str, actor: str, run_id: str = "") -> None:
        self.rows.audit.append((kind, run_id, actor))
