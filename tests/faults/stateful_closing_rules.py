"""Rules for what closes at once and opens with care: kills, overrides, waits, the circuit, a suspended world."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.lifecycle.holds import HoldKind
from tests.faults.stateful_layers import Laying
from tests.faults.stateful_rows import KEYS, Wanted
from tests.faults.stateful_stage import Staged

PEOPLE: Final = st.sampled_from(("alice", "alice", "bob", "bob", "carol", "dave", "eve"))
PLACES: Final = st.integers(0, 4)
LIFTS: Final = ("lift", "lift", "allow_flattening")
WORTHS: Final = (110.0, 100.0, 100.0, 82.0, 75.0, 75.0, 55.0)
"""None of them falls on a limit exactly, whichever of them is the mark."""
_SECONDS: Final = st.sampled_from((0, 0, 3, 20))
_OUT, _IN = st.sampled_from((False,)), st.sampled_from((True,))
LAYINGS: Final = st.one_of(
    st.builds(Laying, active=_OUT, seconds=_SECONDS),
    st.builds(Laying, active=_IN, weight=st.sampled_from((0.05, 0.1, 0.25)), seconds=_SECONDS),
    st.builds(Laying, active=_IN, freeze=st.booleans(), seconds=_SECONDS),
)


class ClosingRules(Staged):
    """What takes away at once, and how it is given back."""

    @rule(actor=PEOPLE, key=st.sampled_from((None, *KEYS)))
    def kill(self, actor: str, key: InstanceKey | None) -> None:
        self.act("kill", actor, key)

    @precondition(lambda self: self.kills())
    @rule(actor=st.sampled_from(("alice", "dave", "dave", "eve")), place=PLACES, verb=st.sampled_from(LIFTS))
    def lift_kill(self, actor: str, place: int, verb: str) -> None:
        """Ask to lift a kill, or let exits through."""
        self.act(verb, actor, self.pick(self.kills(), place))

    @rule(actor=PEOPLE, key=st.sampled_from(KEYS), laying=LAYINGS)
    def override(self, actor: str, key: InstanceKey, laying: Laying) -> None:
        self.act("override", actor, key, laying)

    @precondition(lambda self: self.oracle.rows.layers)
    @rule(actor=st.sampled_from(("alice", "dave", "bob")), place=PLACES, laying=LAYINGS)
    def override_again(self, actor: str, place: int, laying: Laying) -> None:
        """Lay something else over an instance, or ask that less lie there."""
        self.act("override", actor, self.pick(sorted(self.oracle.rows.layers), place), laying)

    @precondition(lambda self: self.oracle.rows.wanted)
    @rule(actor=st.sampled_from(("bob", "carol", "dave", "dave", "alice", "eve")), place=PLACES)
    def grant(self, actor: str, place: int) -> None:
        self.act("grant", self._wanted(place).number, actor)

    @precondition(lambda self: self.open_requests())
    @rule()
    def ask_and_grant_alone(self) -> None:
        """Whoever asked grants it too, which what takes two people refuses; then somebody else does."""
        asked = self.open_requests()[-1]
        self.act("grant", asked.number, asked.requester)
        self.act("grant", asked.number, "carol")

    @precondition(lambda self: self.oracle.rows.wanted)
    @rule(actor=PEOPLE, place=PLACES)
    def reject(self, actor: str, place: int) -> None:
        self.act("reject", self._wanted(place).number, actor)

    @rule(keys=st.sets(st.sampled_from(KEYS), min_size=1), behind=st.sampled_from((0, 0, 1, 3, 30, -1)))
    def runner_is_flat(self, keys: set[InstanceKey], behind: int) -> None:
        """A Runner confirms that it holds nothing, having heard all or not quite."""
        self.act("acknowledge", tuple(sorted(keys)), behind)

    @precondition(lambda self: self.waits())
    @rule(actor=st.sampled_from(("alice", "dave")), waived=st.booleans(), place=PLACES)
    def wait_ends(self, actor: str, place: int, waived: bool) -> None:
        """A wait ends by the Runner's word, or by that of two people."""
        key = self.pick(self.waits(), place)
        if waived:
            self.act("override", actor, key, Laying(active=True))
        else:
            self.act("acknowledge", (key,), 0)

    @rule(worth=st.sampled_from(WORTHS))
    def world_is_worth(self, worth: float) -> None:
        self.act("value", worth)

    @rule(falls=st.sampled_from(((110.0, 75.0, 75.0), (110.0, 55.0), (110.0, 85.0, 75.0, 100.0))))
    def world_loses(self, falls: tuple[float, ...]) -> None:
        """Equity falls from one sample to the next."""
        for worth in falls:
            self.clock.wait(1.0)
            self.act("value", worth)

    @precondition(lambda self: self.tripped())
    @rule(actor=st.sampled_from(("alice", "dave", "dave", "bob")), mark=st.sampled_from(("keep", "reset")))
    def reset_circuit(self, actor: str, mark: str) -> None:
        self.act("reset", actor, mark)

    @rule(actor=PEOPLE, verb=st.sampled_from(("suspend", "take_up", "take_up")))
    def suspend_or_take_up(self, actor: str, verb: str) -> None:
        self.act(verb, actor)

    def kills(self) -> list[InstanceKey | None]:
        """Return what is killed: instances, and None for the world."""
        return [key for kind, _, key in self.oracle.rows.holds if kind is HoldKind.KILL]

    def waits(self) -> list[InstanceKey]:
        """Return of whom a flat position is awaited."""
        return [key for kind, _, key in self.oracle.rows.holds if kind is HoldKind.AWAITING_FLAT and key is not None]

    def tripped(self) -> bool:
        """Tell whether the circuit has."""
        return self.oracle.rows.circuit is not None and bool(self.oracle.rows.circuit.incident)

    def open_requests(self) -> list[Wanted]:
        """Return what is asked for and not decided."""
        return [one for one in self.oracle.rows.wanted if one.state == "requested"]

    def _wanted(self, place: int) -> Wanted:
        return self.pick((self.open_requests() or self.oracle.rows.wanted)[::-1], place)
