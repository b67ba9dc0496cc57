"""What a plan does to a set, and how it splits into what happens at once and what is governed (SEMANTICS 0.5)."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.plans import ActiveSet, Change, ChangeKind, ChangeReason, TransitionPlan, active_set


@dataclass(frozen=True, slots=True)
class PlanSplit:
    """The two runs of one plan; None where there is nothing to do."""

    reduce: TransitionPlan | None
    increase: TransitionPlan | None


def reduces(change: Change) -> bool:
    """Tell whether a change only takes permission away for cause, so that it must not wait.

    Cuts always do. Demotions do, save those of instances that were merely outranked: these leave in the same step in
    which their replacements come.
    """
    match change.kind:
        case ChangeKind.CUT:
            return True
        case ChangeKind.DEMOTE:
            return change.reason is not ChangeReason.OUTRANKED
        case ChangeKind.PROMOTE | ChangeKind.RAISE:
            return False


def split(plan: TransitionPlan, *, reduced: ActiveSet | None = None) -> PlanSplit:
    """Split a plan: what the reduce run permits is a subset of before, and the increase run goes on from there.

    So the reduce run must be carried out first; until then the increase run's base is not the world's set. ``reduced``
    is the set between the two, as a decision found it: there, who waits to be replaced is cut to what the caps leave.
    Without it nothing but the plan's own cuts and demotions for cause is in the first part.
    """
    between = _own_reduction(plan) if reduced is None else _within(plan.before, reduced)
    reduce = replace(plan, after=between) if between != plan.before else None
    increase = replace(plan, before=between) if between != plan.after else None
    return PlanSplit(reduce, increase)


def _own_reduction(plan: TransitionPlan) -> ActiveSet:
    cuts = {change.key: change.after for change in plan.changes if reduces(change)}
    return active_set({**plan.before.weights, **cuts})


def _within(before: ActiveSet, reduced: ActiveSet) -> ActiveSet:
    allowed = before.weights
    return active_set({key: min(weight, allowed.get(key, 0.0)) for key, weight in reduced.weights.items()})


def is_reduction(before: ActiveSet, after: ActiveSet) -> bool:
    """Tell whether everything that ``after`` permits, ``before`` permitted too.

    A plan's base still holds where the world's set is a reduction of ``plan.before``, whatever its generation.
    """
    allowed = before.weights
    return all(entry.weight <= allowed.get(entry.key, 0.0) for entry in after.entries)


def apply_reduce(plan: TransitionPlan, current: ActiveSet) -> ActiveSet:
    """Return ``current`` with the plan's demotions out and its cuts made; never more than ``current`` in anything.

    A reduce run applies to whatever set it meets: instances that the plan does not reduce stay as they are.
    """
    limits = {change.key: change.after for change in plan.changes if reduces(change)}
    return active_set((entry.key, min(entry.weight, limits.get(entry.key, 1.0))) for entry in current.entries)


def merge_after_reduce(plan: TransitionPlan, current: ActiveSet) -> ActiveSet:
    """Return the set that an increase run switches to: the plan's, where what was cut or removed meanwhile stays so.

    ``current`` must be ``plan.before`` or a reduction of it; the table guards that.
    """
    return _keep_cuts(start=plan.before, goal=plan.after, current=current)


def revert_after_reduce(
    plan: TransitionPlan,
    current: ActiveSet,
    *,
    replaced: ActiveSet,
    barred: AbstractSet[InstanceKey] = frozenset(),
) -> ActiveSet:
    """Return the set that undoes a switched increase run: the plan's base, as far as it still stood at the switch.

    ``replaced`` is the set that the switch replaced. What a reduce run cut or removed before or since the switch stays
    so, and instances in ``barred`` (killed, withdrawn or deactivated meanwhile) do not come back.
    """
    stood = replaced.weights
    base = active_set((entry.key, min(entry.weight, stood.get(entry.key, 0.0))) for entry in plan.before.entries)
    restored = _keep_cuts(start=plan.after, goal=base, current=current)
    return active_set({key: weight for key, weight in restored.weights.items() if key not in barred})


def gaining(before: ActiveSet, after: ActiveSet) -> frozenset[InstanceKey]:
    """Return the instances that ``after`` gives more weight: these must be fresh and pass their gates."""
    allowed = before.weights
    return frozenset(entry.key for entry in after.entries if entry.weight > allowed.get(entry.key, 0.0))


def same_change(one: TransitionPlan, other: TransitionPlan) -> bool:
    """Tell whether two plans do the same under the same policy, whatever generation each starts from."""
    return replace(one, base_generation=0).plan_hash == replace(other, base_generation=0).plan_hash


def gross_shift(plan: TransitionPlan) -> float:
    """Return the sum of all weight changes without sign, as a share of world capital."""
    return sum(abs(change.after - change.before) for change in plan.changes)


def _keep_cuts(*, start: ActiveSet, goal: ActiveSet, current: ActiveSet) -> ActiveSet:
    began, now = start.weights, current.weights
    cut = {key: now.get(key, 0.0) for key in began if now.get(key, 0.0) < began[key]}
    return active_set({key: min(weight, cut.get(key, 1.0)) for key, weight in goal.weights.items()})
