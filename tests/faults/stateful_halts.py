"""The oracle's halts: the circuit, which trips by what the world is worth and latches, and a suspended world."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from qmtl_worlds.lifecycle.holds import HoldKind, make_hold
from tests.faults.stateful_layers import Layers
from tests.faults.stateful_reopenings import CIRCUIT
from tests.faults.stateful_rows import CONFIRMED_BY, MOST_LOSS, POLICIES, WARN_AT, Circuit, Refused, Wanted

BREAKER: Final = "circuit"
AT_ONCE: Final = 2


class Halts(Layers):
    """What stops a world as a whole, and how it goes on."""

    def value(self, equity: float) -> str:
        """Take in what the world is worth now; the sample that breaks the limit halts the world."""
        now, rows = self.clock.now, self.rows
        if now in rows.equity:
            if rows.equity[now] != equity:
                raise Refused("SeriesConflictError")
            return "ok"
        if any(at > now for at in rows.equity):
            raise Refused("SeriesInvalidError")
        rows.equity[now] = equity
        before = rows.circuit or Circuit()
        raised = before.mark is None or equity > before.mark
        after = replace(
            before, last=now, mark=equity if raised else before.mark, mark_at=now if raised else before.mark_at
        )
        assert after.mark is not None
        rows.circuit = self._judged(after, 1 - equity / after.mark) if POLICIES[rows.policy].circuit else after
        return "ok"

    def reset(self, actor: str, mark: str) -> str:
        """Ask that the incident be over; on paper who may reset grants it at once."""
        self.must(actor, "gate.reopen")
        if self.rows.circuit is None or not self.rows.circuit.incident:
            raise Refused("ConflictError")
        return self.want_now(CIRCUIT, None, (self.rows.circuit.incident, mark), actor)

    def reset_circuit(self, asked: Wanted, actor: str) -> None:
        """Let go of exactly the incident that was asked about; samples stay counted as seen."""
        incident, mark = asked.about
        there = self.rows.circuit
        if there is None or there.incident != incident:
            raise Refused("PlanStaleError")
        after = replace(there, incident="", breaching=0, warned=False)
        if mark == "reset":
            after = replace(after, mark=self.rows.equity[max(self.rows.equity)], mark_at=self.clock.now)
        self.rows.circuit = after
        del self.rows.holds[HoldKind.CIRCUIT, str(incident), None]
        self.announce("risk_circuit")
        self.record("circuit.reset", f"person:{actor}")

    def suspend(self, actor: str) -> str:
        """Close every gate."""
        self.must(actor, "gate.close")
        return self._set_suspended(actor, "world.suspended", suspended=True)

    def take_up(self, actor: str) -> str:
        """Take the world up again, whatever else holds it."""
        self.must(actor, "apply.approve")
        return self._set_suspended(actor, "world.resumed", suspended=False)

    def _set_suspended(self, actor: str, kind: str, *, suspended: bool) -> str:
        if self.rows.suspended != suspended:
            self.rows.suspended = suspended
            self.announce("world_updated")
            self.record(kind, f"person:{actor}")
        return "ok"

    def _judged(self, circuit: Circuit, fall: float) -> Circuit:
        """Trip by enough samples over the limit in a row, or by one of twice the limit; warn once on the way there."""
        breaching = circuit.breaching + 1 if fall > MOST_LOSS else 0
        near = fall >= WARN_AT * MOST_LOSS
        after = replace(circuit, breaching=breaching, warned=near)
        if circuit.incident:
            return after
        if fall >= AT_ONCE * MOST_LOSS or breaching >= CONFIRMED_BY:
            incident = f"circuit-1.{self.sequence + 1}"
            self.place(make_hold(HoldKind.CIRCUIT, incident), BREAKER)
            self.announce("risk_circuit")
            self.record("circuit.tripped", BREAKER)
            return replace(after, incident=incident)
        if near and not circuit.warned:
            self.record("circuit.warned", BREAKER)
        return after
