"""Plans as tables: who comes, who leaves, whose weight changes, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.plans import ActiveSet, Change, ChangeKind, TransitionPlan
from worlds.admin.badges import Badge, Tone
from worlds.admin.words import ABSENT, CHANGE_REASONS, CHANGES, share
from worlds.models import World
from worlds.selectors import members_of

_TONES: Final[Mapping[ChangeKind, Tone]] = {
    ChangeKind.PROMOTE: "good",
    ChangeKind.DEMOTE: "bad",
    ChangeKind.RAISE: "good",
    ChangeKind.CUT: "warn",
}


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One line of a plan."""

    key: InstanceKey
    kind: Badge
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True)
class GrossRow:
    """How much of the capital a side may use before and after."""

    side: str
    before: str
    after: str
    count_before: int
    count_after: int


@dataclass(frozen=True, slots=True)
class PlanView:
    """A plan as it is shown to whoever approves it."""

    rows: tuple[ChangeRow, ...]
    gross: tuple[GrossRow, ...]
    unchanged_count: int


def plan_view(plan: TransitionPlan) -> PlanView:
    """Return the table of a plan: those that come first, then more weight, less weight, those that leave."""
    order = [ChangeKind.PROMOTE, ChangeKind.RAISE, ChangeKind.CUT, ChangeKind.DEMOTE]
    changes = sorted(plan.changes, key=lambda change: (order.index(change.kind), -change.after, change.key))
    changed = {change.key for change in changes}
    return PlanView(
        rows=tuple(_row(change) for change in changes),
        gross=tuple(_gross(side, plan) for side in Side if _uses(side, plan.before) or _uses(side, plan.after)),
        unchanged_count=len(plan.after.weights.keys() - changed),
    )


@dataclass(frozen=True, slots=True)
class ContentRow:
    """One member of a set that would come back."""

    key: InstanceKey
    now: str
    then: str
    note: str


def content_rows(world: World, content: ActiveSet, *, scaled: frozenset[InstanceKey]) -> tuple[ContentRow, ...]:
    """Return the members of a set beside their present weights; then those that would leave."""
    present = {key: member.weight for key, member in members_of(world.id, world.generation).items()}
    then = content.weights
    rows = [ContentRow(key, _share(present.get(key)), share(then[key]), _note(key, present, scaled)) for key in then]
    leaving = sorted(present.keys() - then.keys())
    return (*rows, *(ContentRow(key, share(present[key]), ABSENT, "leaves") for key in leaving))


def _note(key: InstanceKey, present: Iterable[InstanceKey], scaled: frozenset[InstanceKey]) -> str:
    words = "stays" if key in present else "comes back"
    return f"{words}, scaled down to today's budgets" if key in scaled else words


def _row(change: Change) -> ChangeRow:
    return ChangeRow(
        key=change.key,
        kind=Badge(CHANGES[change.kind], _TONES[change.kind]),
        before=_share(change.before),
        after=_share(change.after),
        reason=CHANGE_REASONS[change.reason],
    )


def _gross(side: Side, plan: TransitionPlan) -> GrossRow:
    before, after = _weights(side, plan.before), _weights(side, plan.after)
    return GrossRow(side.value, share(sum(before)), share(sum(after)), len(before), len(after))


def _weights(side: Side, content: ActiveSet) -> list[float]:
    return [weight for key, weight in content.weights.items() if key.side is side]


def _uses(side: Side, content: ActiveSet) -> bool:
    return any(key.side is side for key in content.weights)


def _share(weight: float | None) -> str:
    return share(weight) if weight else ABSENT
