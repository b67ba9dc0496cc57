"""The oracle's kills: at once, beside the world's sequence, and lifted only by asking for exactly these."""

from __future__ import annotations

from dataclasses import replace

from qmtl_worlds.contracts.activation import GateLevel
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.plans import ChangeReason
from qmtl_worlds.contracts.states import LIVE_STATES, RunKind
from qmtl_worlds.lifecycle.holds import HoldKind, make_hold
from tests.faults.stateful_halts import Halts
from tests.faults.stateful_reopenings import KILL
from tests.faults.stateful_rows import HoldName, Refused, Wanted
from tests.faults.stateful_runs import SYSTEM


class Kills(Halts):
    """Kills of the world (no key) and of instances."""

    def kill(self, actor: str, key: InstanceKey | None) -> str:
        """Close at once; the sequence is left to the tick, and twice is once unless somebody wants it lifted."""
        self.must(actor, "gate.close")
        owner = f"person:{actor}"
        there = self.rows.holds.get((HoldKind.KILL, owner, key))
        if there is not None and there.hold.level is GateLevel.CLOSED and self.asked(KILL, key) is None:
            return "ok"
        self.rows.holds.pop((HoldKind.KILL, owner, key), None)
        self.place(make_hold(HoldKind.KILL, owner, key=key), owner)
        self.rows.kills.append(owner)
        return "ok"

    def allow_flattening(self, actor: str, key: InstanceKey | None) -> str:
        """Let exits through while the kill stays."""
        self.must(actor, "gate.lift_kill")
        closed = [name for name in self._kills(key) if self.rows.holds[name].hold.level is GateLevel.CLOSED]
        for name in closed:
            placed = self.rows.holds[name]
            self.rows.holds[name] = replace(placed, hold=replace(placed.hold, level=GateLevel.REDUCE_ONLY))
        if closed:
            self.announce("activation_updated")
            self.record("gate.flattening_allowed", f"person:{actor}")
        return "ok"

    def lift(self, actor: str, key: InstanceKey | None) -> str:
        """Ask to lift exactly the kills that stand; on paper who may lift them grants it at once."""
        standing = tuple((name, self.rows.holds[name].at) for name in self._kills(key))
        if not standing:
            raise Refused("PlanStaleError")
        return self.want_now(KILL, key, standing, actor)

    def lift_kills(self, asked: Wanted, actor: str) -> None:
        """Lift those that stand as they did; one that came or was repeated since stays."""
        lifted = [name for name in self._kills(asked.key) if (name, self.rows.holds[name].at) in asked.about]
        if not lifted:
            raise Refused("PlanStaleError")
        for name in lifted:
            del self.rows.holds[name]
        self.announce("activation_updated")
        self.record("gate.kill_lifted", f"person:{actor}")

    def tick(self) -> str:
        """Tell the outside of kills, and drop who was killed, before runs go on."""
        if len(self.rows.kills) > self.rows.kills_told:
            self.rows.kills_told = len(self.rows.kills)
            self.announce("activation_updated")
        live = {run.view.kind for run in self.rows.runs.values() if run.view.state in LIVE_STATES}
        if RunKind.REDUCE not in live:
            killed = [key for kind, _, key in self.rows.holds if kind is HoldKind.KILL and key is not None]
            self.drop(killed, ChangeReason.KILLED, "kill", SYSTEM)
        return super().tick()

    def _kills(self, key: InstanceKey | None) -> list[HoldName]:
        return [name for name in self.rows.holds if name[0] is HoldKind.KILL and name[2] == key]
