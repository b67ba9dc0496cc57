"""The oracle: every act on a world, done on plain books; ``tests.faults.stateful_services`` does the same for real."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.lifecycle.apply import Event
from qmtl_worlds.lifecycle.holds import HoldKind, make_hold
from tests.faults.stateful_clock import START
from tests.faults.stateful_kills import Kills
from tests.faults.stateful_requests import SHELL
from tests.faults.stateful_rows import KEYS, Instance, Refused

APPROVERS: Final = ("bob", "carol", "dave")
_MAY: Final = {
    "alice": {"apply.request", "rollback.request", "policy.request", "gate.close", "gate.reopen", "world.edit"}
    | {"override.request"},
    "bob": {"apply.approve", "policy.approve", "gate.close"},
    "carol": {"apply.approve", "policy.approve", "gate.close"},
    "dave": {"apply.approve", "policy.approve", "gate.close", "gate.reopen", "gate.lift_kill"}
    | {"apply.request", "rollback.request", "override.request", "circuit.reset"},
}
"""Written down here once more: eve may look."""


class Oracle(Kills):
    """What must be stored after each act, and what must be refused."""

    def must(self, actor: str, permission: str) -> None:
        if not self.may(actor, permission):
            raise Refused("PermissionDeniedError")

    def may(self, actor: str, permission: str) -> bool:
        lost = actor in APPROVERS and actor not in self.entitled
        return not lost and permission in _MAY.get(actor, ())

    def approve(self, run_id: str, actor: str, *, stale: bool) -> str:
        """Approve the plan that was shown, which may be another than the run's."""
        self.must(actor, "apply.approve")
        run = self.run(run_id)
        if not run.waits or self.clock.now >= run.expires_at:
            raise Refused("RunStateError")
        if stale:
            raise Refused("PlanStaleError")
        if actor in {run.requester, "alice"}:
            raise Refused("SelfApprovalError")
        if actor in run.approvals:
            return "ok"
        with self.transaction():
            self.rows.put(replace(run, approvals=(*run.approvals, actor)))
            self.record("apply.approved", f"person:{actor}", run_id)
            self.fire(run_id, Event.APPROVE, f"person:{actor}")
        self.rows.bells.append(run_id)
        return "ok"

    def decide(self, run_id: str, event: Event, actor: str) -> str:
        """Reject, abort or resume a run."""
        self.must(actor, "gate.close" if event is Event.ABORT else "apply.approve")
        if not self.fire(run_id, event, f"person:{actor}"):
            raise Refused("RunStateError")
        if event is not Event.REJECT:
            self.rows.bells.append(run_id)
        return "ok"

    def freeze(self, actor: str) -> str:
        self.must(actor, "gate.close")
        if self.place(make_hold(HoldKind.FREEZE, "operator"), f"person:{actor}"):
            self.announce("activation_updated")
            self.record("gate.frozen", f"person:{actor}")
        return "ok"

    def unfreeze(self, actor: str) -> str:
        self.must(actor, "gate.reopen")
        if self.rows.holds.pop((HoldKind.FREEZE, "operator", None), None) is not None:
            self.announce("activation_updated")
            self.record("gate.unfrozen", f"person:{actor}")
        return "ok"

    def pause(self, actor: str, *, paused: bool) -> str:
        self.must(actor, "gate.close" if paused else "gate.reopen")
        if self.rows.paused != paused:
            self.rows.paused = paused
            self.announce("world_updated")
            self.record("gate.paused" if paused else "gate.unpaused", f"person:{actor}")
        return "ok"

    def set_lease(self, actor: str, lease_ms: int) -> str:
        """Change how long permissions live; a drain counts the longer life while such permissions may be out."""
        self.must(actor, "world.edit")
        if lease_ms != self.rows.lease_ms:
            self.rows.leases.append((self.clock.now, self.rows.lease_ms))
        self.rows.lease_ms = lease_ms
        self.announce("world_updated")
        self.record("world.updated", f"person:{actor}")
        return "ok"

    def put_policy(self, version: int, approver: str) -> str:
        """Let alice ask for a version and somebody else put it in force."""
        with self.transaction():
            self.record("policy.activation_requested", "person:alice")
            self.must(approver, "policy.approve")
            self.rows.policy = version
            self.remove_pin(f"person:{approver}")
            self.announce("policy_updated")
            self.record("policy.activated", f"person:{approver}")
        return "ok"

    def set_right(self, name: str, *, entitled: bool) -> str:
        """Take the right to approve away, or give it back."""
        (self.entitled.add if entitled else self.entitled.discard)(name)
        return "ok"

    def push(self, key: InstanceKey) -> str:
        """Take in a bar that closes now."""
        one = self._bound(key)
        end = self.clock.now.replace(microsecond=0)
        last = end if one.last is None else max(one.last, end)
        self.rows.instances[one.number] = replace(one, last=last)
        if last != one.last:
            self.announce("freshness_updated")
        return "ok"

    def bind(self, key: InstanceKey, params: int) -> str:
        """Bind a strategy; other params make another instance."""
        old = self.rows.bound(key)
        if old is not None and old.params == params:
            return "ok"
        if old is not None:
            self.rows.instances[old.number] = replace(old, withdrawn_at=self.clock.now)
        wanted = self.rows.roster is None or key.strategy_id in self.rows.roster
        number = len(self.rows.instances) + 1
        self.rows.instances[number] = Instance(number, key, params, self.clock.now, wanted)
        self.record("strategy.bound" if old is None else "strategy.rebound", SHELL)
        if old is not None:
            self.withdraw([key])
        self.announce("bindings_updated")
        return "ok"

    def unbind(self, key: InstanceKey) -> str:
        one = self._bound(key)
        self.rows.instances[one.number] = replace(one, withdrawn_at=self.clock.now)
        self.record("strategy.unbound", SHELL)
        self.withdraw([key])
        return "ok"

    def choose(self, names: tuple[str, ...]) -> str:
        """Replace the list of wanted strategies; who leaves it is withdrawn, who joins may come in again."""
        left = []
        for one in self.rows.instances.values():
            if one.withdrawn_at is None and one.wanted != (one.key.strategy_id in names):
                if one.wanted:
                    left.append(one.key)
                self.rows.instances[one.number] = replace(one, wanted=not one.wanted)
        if self.rows.roster != names:
            self.rows.roster = names
            self.record("roster.replaced", SHELL)
        self.withdraw(left)
        return "ok"

    def _bound(self, key: InstanceKey) -> Instance:
        one = self.rows.bound(key)
        if one is None:
            raise Refused("StrategyNotFoundError")
        return one


def set_up(oracle: Oracle, *, sequence: int) -> None:
    """Begin with the world as it was made: every strategy bound, with fresh data."""
    for number, key in enumerate(KEYS, 1):
        oracle.rows.instances[number] = Instance(number, key, 0, START, last=START)
    oracle.rows.outbox = [("set_up", START)] * sequence
