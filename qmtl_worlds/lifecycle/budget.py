"""I17: does a set satisfy its policy's budgets?

Written apart from the selection, so that neither hides the other's faults; it takes plain values, no policy, no panel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.plans import ActiveSet

TOLERANCE: Final = 1e-12
"""How far a sum may lie over its cap."""


class MissingSector(StrEnum):
    """What an instance without a sector means for the sector cap."""

    BUCKET = "bucket"
    EXEMPT = "exempt"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Caps:
    """The budgets of one policy; None tests nothing.

    Attributes:
        total: most instances in the set.
        by_side: most instances of each side; a side that is missing has no slot.
        gross: largest sum of weights of each side; a side that is missing has no budget.
        per_sector: largest sum of weights of one sector, long and short together.
        max_leverage: largest sum of weight times leverage.
        assumed_leverage: leverage of an instance that reports none; None makes that a violation.
        max_pairwise: highest correlation of two instances.
        absolute: caps the correlation without its sign.
        unknown_conflicts: a pair whose correlation is unknown counts as over the cap.
        missing_sector: what an instance without a sector means.
    """

    total: int
    by_side: Mapping[Side, int]
    gross: Mapping[Side, float]
    per_sector: float | None = None
    max_leverage: float | None = None
    assumed_leverage: float | None = None
    max_pairwise: float | None = None
    absolute: bool = False
    unknown_conflicts: bool = True
    missing_sector: MissingSector = MissingSector.BUCKET


Pair = tuple[InstanceKey, InstanceKey]


@dataclass(frozen=True, slots=True)
class Exposures:
    """What the set's instances expose to; a missing entry is unknown. Pairs count in either order."""

    sectors: Mapping[InstanceKey, str] = field(default_factory=dict)
    leverages: Mapping[InstanceKey, float] = field(default_factory=dict)
    correlations: Mapping[Pair, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Violation:
    """One budget that is not kept: ``value`` is over ``limit`` for ``subject``, which ``members`` make up."""

    rule: str
    subject: str
    value: float
    limit: float
    members: tuple[InstanceKey, ...]


def violations(
    content: ActiveSet, caps: Caps, exposures: Exposures, *, admitted: AbstractSet[InstanceKey]
) -> tuple[Violation, ...]:
    """Return every budget that ``content`` breaks, in the order total, side, gross, sector, leverage, correlation.

    Counts and correlation bind only what is newly ``admitted``: what hysteresis keeps may break them, and then nothing
    can be admitted. A value that is not a number breaks its budget.
    """
    return (
        *_counts(content, caps, admitted),
        *_gross(content, caps),
        *_sectors(content, caps, exposures),
        *_leverage(content, caps, exposures),
        *_correlations(content, caps, exposures, admitted),
    )


def _counts(content: ActiveSet, caps: Caps, admitted: AbstractSet[InstanceKey]) -> Iterator[Violation]:
    keys = [entry.key for entry in content.entries]
    groups = [("total", "world", keys, caps.total)]
    groups += [("by_side", side, [key for key in keys if key.side is side], caps.by_side.get(side, 0)) for side in Side]
    for rule, subject, members, limit in groups:
        if len(members) > limit and admitted & set(members):
            yield Violation(rule, subject, len(members), limit, tuple(members))


def _gross(content: ActiveSet, caps: Caps) -> Iterator[Violation]:
    for side in Side:
        members = [entry.key for entry in content.entries if entry.key.side is side]
        yield from _over("gross", side, content, members, caps.gross.get(side, 0.0))


def _sectors(content: ActiveSet, caps: Caps, exposures: Exposures) -> Iterator[Violation]:
    if caps.per_sector is None:
        return
    sectors: dict[str | None, list[InstanceKey]] = {}
    for entry in content.entries:
        sectors.setdefault(exposures.sectors.get(entry.key), []).append(entry.key)
    unknown = sectors.get(None, [])
    if caps.missing_sector is not MissingSector.BUCKET:
        sectors.pop(None, None)
    if unknown and caps.missing_sector is MissingSector.REJECT:
        yield Violation("sector_unknown", "(none)", len(unknown), 0, tuple(unknown))
    for sector in sorted(sectors, key=lambda name: name or ""):
        yield from _over("sector", sector or "(none)", content, sectors[sector], caps.per_sector)


def _leverage(content: ActiveSet, caps: Caps, exposures: Exposures) -> Iterator[Violation]:
    if caps.max_leverage is None:
        return
    keys = [entry.key for entry in content.entries]
    unknown = [key for key in keys if key not in exposures.leverages]
    if unknown and caps.assumed_leverage is None:
        yield Violation("leverage_unknown", "world", len(unknown), 0, tuple(unknown))
    assumed = caps.assumed_leverage or 0.0
    value = sum(entry.weight * exposures.leverages.get(entry.key, assumed) for entry in content.entries)
    if not value <= caps.max_leverage + TOLERANCE:
        yield Violation("leverage", "world", value, caps.max_leverage, tuple(keys))


def _correlations(
    content: ActiveSet, caps: Caps, exposures: Exposures, admitted: AbstractSet[InstanceKey]
) -> Iterator[Violation]:
    if caps.max_pairwise is None:
        return
    for pair in _pairs([entry.key for entry in content.entries], admitted):
        rho = exposures.correlations.get(pair, exposures.correlations.get((pair[1], pair[0])))
        subject = f"{pair[0].text},{pair[1].text}"
        if rho is None:
            if caps.unknown_conflicts:
                yield Violation("correlation_unknown", subject, 1, caps.max_pairwise, pair)
        elif not (abs(rho) if caps.absolute else rho) <= caps.max_pairwise + TOLERANCE:
            yield Violation("correlation", subject, rho, caps.max_pairwise, pair)


def _pairs(keys: list[InstanceKey], admitted: AbstractSet[InstanceKey]) -> Iterator[Pair]:
    for place, first in enumerate(keys):
        for second in keys[place + 1 :]:
            if first in admitted or second in admitted:
                yield first, second


def _over(
    rule: str, subject: str, content: ActiveSet, members: Iterable[InstanceKey], limit: float
) -> Iterator[Violation]:
    weights, keys = content.weights, tuple(members)
    value = sum(weights[key] for key in keys)
    if not value <= limit + TOLERANCE:
        yield Violation(rule, subject, value, limit, keys)
