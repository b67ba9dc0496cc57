"""What a world was permitted to hold, over time: the weights behind the equity that its returns imply."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise

Weights = Mapping[int, float]
"""Share of the world's capital by instance; who is not named holds nothing."""


@dataclass(frozen=True, slots=True)
class Exposures:
    """Weights as they changed: each entry holds from its time (epoch seconds) to the next one's; before, nothing."""

    entries: tuple[tuple[float, Weights], ...] = ()

    @property
    def present(self) -> Weights:
        """Return the latest weights."""
        return self.entries[-1][1] if self.entries else {}


def observed(log: Exposures, *, at: float, committed: Weights, open_now: Collection[int]) -> Exposures:
    """Return the log after looking at the world once more; nothing new leaves it as it is.

    An open gate permits the committed weight. One that is not open permits no more than was held, since it lets nobody
    in, and no less, since it takes nothing away; what is not in the set any more is permitted nothing. Whoever is in
    the set at the first look may have been let in before it, and counts.
    """
    before = log.present if log.entries else committed
    now = {
        instance: weight if instance in open_now else min(weight, before.get(instance, 0.0))
        for instance, weight in committed.items()
    }
    weights = {instance: weight for instance, weight in now.items() if weight > 0}
    if log.entries and weights == dict(log.present):
        return log
    return Exposures((*log.entries, (at, weights)))


def average(log: Exposures, *, start: float, end: float) -> Weights:
    """Return the weights averaged over the time from ``start`` to ``end`` (after it)."""
    total: dict[int, float] = {}
    for (begins, weights), (until, _) in pairwise((*log.entries, (end, {}))):
        seconds = min(until, end) - max(begins, start)
        if seconds <= 0:
            continue
        for instance, weight in weights.items():
            total[instance] = total.get(instance, 0.0) + weight * seconds
    return {instance: weight / (end - start) for instance, weight in total.items()}


def since(log: Exposures, *, start: float) -> Exposures:
    """Return the log without what was over by ``start``."""
    over = [later <= start for (_, _), (later, _) in pairwise(log.entries)]
    return Exposures(log.entries[sum(over) :])
