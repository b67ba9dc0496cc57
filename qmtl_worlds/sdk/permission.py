"""What a gate holds for one side: the newest activation, how long it counts, and the verdicts that follow."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qmtl_worlds.contracts.activation import ActivationEnvelope, supersedes
from qmtl_worlds.contracts.lease import EXPIRED, read_deadline
from qmtl_worlds.sdk.verdict import GateRules, Verdict, judge


@dataclass(frozen=True, slots=True)
class ActivationReading:
    """One answer of the server: ``envelope`` is None where it said that nothing has changed (304).

    ``sent_at`` is the monotonic time just before the question was sent; the ``lease_ms`` of the answer count from it.
    """

    envelope: ActivationEnvelope | None
    lease_ms: float
    sent_at: float


@dataclass(frozen=True, slots=True)
class Permission:
    """Verdicts for one side, made once for each answer so that a check only compares a clock and picks one.

    ``entry`` is for orders that increase risk or may, ``exit`` for those that reduce it; ``late_entry`` and
    ``late_exit`` count from ``deadline`` on. ``ends_at`` is when the activation changes by itself, on the clock of
    ``deadline``; None where only its own answer knew, so that nothing but another answer may renew it.
    """

    activation: ActivationEnvelope | None
    deadline: float
    entry: Verdict
    exit: Verdict
    late_entry: Verdict
    late_exit: Verdict
    ends_at: float | None = None


def grant(
    activation: ActivationEnvelope | None, *, deadline: float, rules: GateRules, ends_at: float | None = None
) -> Permission:
    """Work out the verdicts that ``judge`` gives before and after ``deadline``."""

    def verdict(*, reduces: bool, now: float) -> Verdict:
        return judge(activation, deadline=0.0, now=now, reduces=reduces, rules=rules)

    return Permission(
        activation=activation,
        deadline=deadline,
        entry=verdict(reduces=False, now=-math.inf),
        exit=verdict(reduces=True, now=-math.inf),
        late_entry=verdict(reduces=False, now=0.0),
        late_exit=verdict(reduces=True, now=0.0),
        ends_at=ends_at,
    )


def no_permission(rules: GateRules) -> Permission:
    """Return what a gate holds before its first answer and after it was stopped: nothing passes."""
    return grant(None, deadline=EXPIRED, rules=rules)


def renew(held: Permission, reading: ActivationReading, *, rules: GateRules) -> Permission:
    """Return what to hold after ``reading``.

    "Nothing has changed" renews what is held. An older answer than the held one changes nothing and renews nothing. The
    deadline always comes from the newest answer, also where that is sooner.
    """
    deadline = read_deadline(sent=reading.sent_at, lease_ms=reading.lease_ms)
    offered = reading.envelope or held.activation
    if offered is None or not supersedes(offered, held.activation):
        return held
    return grant(offered, deadline=deadline, rules=rules)
