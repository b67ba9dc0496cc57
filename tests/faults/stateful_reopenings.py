"""The oracle's requests to open what is closed: who may ask, who may grant, and when that takes a second person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from qmtl_worlds.contracts.ids import InstanceKey
from tests.faults.stateful_requests import Requests
from tests.faults.stateful_rows import Refused, Wanted

KILL, CIRCUIT, OVERRIDE, FLAT = "kill", "circuit", "override", "awaiting_flat"
ASKED_BY: Final = {
    KILL: "gate.reopen",
    CIRCUIT: "gate.reopen",
    OVERRIDE: "override.request",
    FLAT: "override.request",
}
GRANTED_BY: Final = {
    KILL: "gate.lift_kill",
    CIRCUIT: "circuit.reset",
    OVERRIDE: "apply.approve",
    FLAT: "apply.approve",
}
TOLD: Final = {
    KILL: "gate.kill_lift_",
    CIRCUIT: "circuit.reset_",
    OVERRIDE: "override.",
    FLAT: "gate.flat_waiver_",
}
TAKE_TWO: Final = (OVERRIDE, FLAT)
"""On paper one risk person may lift a kill and reset a circuit."""


class Reopenings(Requests):
    """Requests, of which one at a time waits for each thing that is closed."""

    def may(self, actor: str, permission: str) -> bool:
        """Tell whether somebody has a right."""
        raise NotImplementedError

    def grant(self, number: int, actor: str) -> str:
        """Open what was asked for; in the name of two people where that takes two."""
        asked = self._waiting(number, actor, by_own=False)
        if asked.subject in TAKE_TWO and asked.requester == actor:
            raise Refused("SelfApprovalError")
        with self.transaction():
            self._decide(asked, "granted", actor)
            self._effects()[asked.subject](asked, actor)
        return "ok"

    def reject(self, number: int, actor: str) -> str:
        """Leave it closed; whoever asked may take it back."""
        asked = self._waiting(number, actor, by_own=True)
        self._decide(asked, "rejected", actor)
        self.record(f"{TOLD[asked.subject]}rejected", f"person:{actor}")
        return "ok"

    def asked(self, subject: str, key: InstanceKey | None) -> Wanted | None:
        """Return the request that waits."""
        same = (one for one in self.rows.wanted if (one.subject, one.key, one.state) == (subject, key, "requested"))
        return next(same, None)

    def want(self, subject: str, key: InstanceKey | None, about: tuple[object, ...], actor: str) -> Wanted:
        """Ask: the same again is the same request, another one takes the place of the older."""
        self.must(actor, ASKED_BY[subject])
        older = self.asked(subject, key)
        if older is not None and older.about == about:
            return older
        if older is not None:
            self._decide(older, "superseded", actor)
        made = Wanted(len(self.rows.wanted) + 1, subject, key, about, actor)
        self.rows.wanted.append(made)
        self.record(f"{TOLD[subject]}requested", f"person:{actor}")
        return made

    def want_now(self, subject: str, key: InstanceKey | None, about: tuple[object, ...], actor: str) -> str:
        """Ask, and grant where one person suffices, who has the right."""
        asked = self.want(subject, key, about, actor)
        if self.may(actor, GRANTED_BY[subject]):
            self.grant(asked.number, actor)
        return "ok"

    def forget(self, subject: str, key: InstanceKey | None, actor: str) -> None:
        """Close the request about what is gone."""
        if (older := self.asked(subject, key)) is not None:
            self._decide(older, "superseded", actor)

    def lift_kills(self, asked: Wanted, actor: str) -> None:
        """Do what was granted."""
        raise NotImplementedError

    def reset_circuit(self, asked: Wanted, actor: str) -> None:
        """Do what was granted."""
        raise NotImplementedError

    def loosen(self, asked: Wanted, actor: str) -> None:
        """Do what was granted."""
        raise NotImplementedError

    def waive(self, asked: Wanted, actor: str) -> None:
        """Do what was granted."""
        raise NotImplementedError

    def _effects(self) -> Mapping[str, Callable[[Wanted, str], None]]:
        return {KILL: self.lift_kills, CIRCUIT: self.reset_circuit, OVERRIDE: self.loosen, FLAT: self.waive}

    def _waiting(self, number: int, actor: str, *, by_own: bool) -> Wanted:
        if not any(self.may(actor, right) for right in {*ASKED_BY.values(), *GRANTED_BY.values()}):
            raise Refused("PermissionDeniedError")
        asked = self.rows.wanted[number - 1]
        if not (by_own and asked.requester == actor):
            self.must(actor, GRANTED_BY[asked.subject])
        if asked.state != "requested":
            raise Refused("ConflictError")
        return asked

    def _decide(self, asked: Wanted, state: str, actor: str) -> None:
        self.rows.wanted[asked.number - 1] = replace(asked, state=state, decider=actor)
