"""What is committed for the small world: its rows, in numbers, so that a state is a short tuple.

All times are counted in ticks from now.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Final, Generic, NamedTuple, TypeVar

from qmtl_worlds.contracts.activation import GateLevel
from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.plans import ActiveSet, ChangeReason, TransitionPlan, active_set
from qmtl_worlds.contracts.states import EXCLUSIVE_STATES, HOLDING_STATES, LIVE_STATES, TERMINAL_STATES, RunKind
from qmtl_worlds.lifecycle import holds as hold_sets
from qmtl_worlds.lifecycle.holds import Hold, HoldKind, gate_of, make_hold

WORLD: Final = "w1"
POLICY: Final = "sha256:policy"
ANT, BEE, CAT = (InstanceKey(name, Side.LONG) for name in ("ant", "bee", "cat"))
WATCHED: Final = (ANT, BEE, CAT)
"""The instances of a mask, lowest bit first."""

Value = TypeVar("Value", bound=Hashable)


class Numbers(Generic[Value]):
    """Gives each different value a number, so that states are cheap to compare."""

    def __init__(self) -> None:
        """Start empty."""
        self._values: list[Value] = []
        self._number_of: dict[Value, int] = {}

    def __getitem__(self, number: int) -> Value:
        """Return the value with this number."""
        return self._values[number]

    def of(self, value: Value) -> int:
        """Return the number of ``value``."""
        number = self._number_of.setdefault(value, len(self._values))
        if number == len(self._values):
            self._values.append(value)
        return number


SETS: Final[Numbers[ActiveSet]] = Numbers()
HOLDS: Final[Numbers[frozenset[Hold]]] = Numbers()
PLANS: Final[Numbers[TransitionPlan]] = Numbers()
NO_HOLDS: Final = HOLDS.of(frozenset())

FREEZE: Final = make_hold(HoldKind.FREEZE, "operator")
CIRCUIT: Final = make_hold(HoldKind.CIRCUIT, WORLD)
KILL: Final = make_hold(HoldKind.KILL, "operator")


INCREASE: Final = RunKind.INCREASE.value
REDUCE: Final = RunKind.REDUCE.value
LIVE: Final = frozenset(state.value for state in LIVE_STATES)
TERMINAL: Final = frozenset(state.value for state in TERMINAL_STATES)
EXCLUSIVE: Final = frozenset(state.value for state in EXCLUSIVE_STATES)
HOLDING: Final = frozenset(state.value for state in HOLDING_STATES)


class Run(NamedTuple):
    """A run's row.

    ``kind`` and ``state`` are plain words, since enumerations are slow to hash. ``drain`` and ``lease`` are ticks left;
    ``deadline`` is 0 when the run is overdue. None where there is no such time.
    ``switched_from`` is the number of the set that its switch replaced. ``cut`` remembers, for the invariants only,
    that a reduce run took bee out while this run was under way.
    """

    kind: str
    state: str
    plan: int
    approved: bool = False
    attempts: int = 0
    drain: int | None = None
    deadline: int | None = None
    lease: int | None = None
    switched_from: int | None = None
    cut: bool = False


class Truth(NamedTuple):
    """What is committed: the rows. ``revision`` counts visible changes, ``kills`` is the hold sequence.

    ``lost`` names the proof that is lacking: cat is ``stale``, the ``policy`` is another, the set breaks a ``budget``.
    """

    runs: tuple[Run, ...]
    content: int
    holds: int = NO_HOLDS
    lost: str = ""
    revision: int = 1
    kills: int = 0


class Outcome(NamedTuple):
    """What one event at one run comes to.

    ``generations`` is by how much the generation rises, ``wrong`` what an invariant has against it.
    """

    run: Run
    content: int
    holds: int
    moved: bool
    fences: bool
    visible: bool
    generations: int
    reason: str
    wrong: str = ""


def run_id(index: int) -> str:
    """Name a run by its place."""
    return f"run-{index}"


def set_of(*keys: InstanceKey) -> int:
    """Number the set in which each of ``keys`` has a tenth of the capital."""
    return SETS.of(active_set(dict.fromkeys(keys, 0.1)))


def new_plan(before: int, after: int) -> int:
    """Number the plan that leads from one set to another and merely outranks whoever leaves."""
    return PLANS.of(TransitionPlan(WORLD, 1, POLICY, SETS[before], SETS[after]))


def failing_plan(before: int) -> int:
    """Number the plan that takes bee out since it fails a gate."""
    content = SETS[before]
    after = active_set((entry.key, entry.weight) for entry in content.entries if entry.key != BEE)
    return PLANS.of(TransitionPlan(WORLD, 1, POLICY, content, after, ((BEE, ChangeReason.GATE_FAIL),)))


def with_hold(holds: int, hold: Hold) -> int:
    """Number the set of holds with ``hold``."""
    return HOLDS.of(hold_sets.add(HOLDS[holds], hold))


def without_hold(holds: int, hold: Hold) -> int:
    """Number the set of holds without ``hold``."""
    return HOLDS.of(hold_sets.remove(HOLDS[holds], kind=hold.kind, owner=hold.owner))


@cache
def permitted(content: int, holds: int) -> int:
    """Return the mask of the watched instances that may trade, by the real gate."""
    weights = SETS[content].weights
    opened = (weights.get(key, 0.0) > 0 and gate_of(HOLDS[holds], key=key).level is GateLevel.OPEN for key in WATCHED)
    return sum(1 << place for place, is_open in enumerate(opened) if is_open)
