"""Back to a past generation: its content, less what may no longer trade, never more than it was (SEMANTICS 5, I21)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.plans import ActiveSet, ChangeKind, ChangeReason, TransitionPlan, active_set
from qmtl_worlds.lifecycle.budget import Caps, Exposures, Violation, violations


@dataclass(frozen=True, slots=True)
class RollbackPreview:
    """What a rollback would lead to: the set, who is left out of the target and why, whose weight is scaled down."""

    content: ActiveSet
    left_out: tuple[tuple[InstanceKey, str], ...]
    scaled: tuple[InstanceKey, ...]


def preview(
    target: ActiveSet,
    *,
    current: ActiveSet,
    barred: Mapping[InstanceKey, str],
    caps: Caps,
    exposures: Exposures,
) -> RollbackPreview:
    """Return what going back to ``target`` leads to now.

    Left out: what ``barred`` names with its reason (withdrawn, killed, stale ...); then, one by one, the lightest of
    those that break a count, a correlation or the need to know sector and leverage; members of ``current`` last, ties
    by key. Weights over a gross, sector or leverage budget are scaled down together, to full 1e-9.
    """
    out = {key: barred[key] for key in target.weights if key in barred}
    content = _without(target, out.keys())
    while (worst := _first_of(content, caps, exposures, current)) is not None:
        smaller = _relieved(content, worst, current)
        out.update(dict.fromkeys(content.weights.keys() - smaller.weights.keys(), worst.rule))
        content = smaller
    scaled = tuple(entry.key for entry in content.entries if entry.weight < target.weights[entry.key])
    return RollbackPreview(content, tuple(sorted(out.items())), scaled)


def rollback_plan(plan: TransitionPlan) -> TransitionPlan:
    """Return ``plan`` with rollback as the reason of each change, so that its demotions need not wait."""
    changing = (change.key for change in plan.changes if change.kind in {ChangeKind.PROMOTE, ChangeKind.DEMOTE})
    reasons = tuple((key, ChangeReason.ROLLBACK) for key in changing)
    return replace(plan, reasons=reasons)


_SCALABLE: Final = frozenset({"gross", "sector", "leverage"})
_STEP: Final = 1e9


def _first_of(content: ActiveSet, caps: Caps, exposures: Exposures, current: ActiveSet) -> Violation | None:
    admitted = content.weights.keys() - current.weights.keys()
    return next(iter(violations(content, caps, exposures, admitted=admitted)), None)


def _relieved(content: ActiveSet, violation: Violation, current: ActiveSet) -> ActiveSet:
    if violation.rule in _SCALABLE:
        return _scaled(content, violation)
    return _without(content, {_lightest(content, violation, current)})


def _scaled(content: ActiveSet, violation: Violation) -> ActiveSet:
    """Return the set with the violation's members scaled under its limit; a hopeless one leaves nothing of them."""
    factor = violation.limit / violation.value if 0 < violation.limit < violation.value < math.inf else 0.0
    members = set(violation.members)
    return active_set(
        (entry.key, math.floor(entry.weight * factor * _STEP) / _STEP if entry.key in members else entry.weight)
        for entry in content.entries
    )


def _lightest(content: ActiveSet, violation: Violation, current: ActiveSet) -> InstanceKey:
    weights = content.weights
    candidates = [key for key in violation.members if key not in current.weights] or violation.members
    return min(candidates, key=lambda key: (weights[key], key))


def _without(content: ActiveSet, keys: AbstractSet[InstanceKey]) -> ActiveSet:
    return ActiveSet(tuple(entry for entry in content.entries if entry.key not in keys))
