"""Recompute the freshness of a whole world, as a new policy or calendar asks for it."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.db import transaction

from strategies.freshness import Currency, Extent, FreshnessRule, currency
from strategies.models import SeriesTrack, StrategyInstance

_BATCH: Final = 500


@transaction.atomic
def refresh_world_currency(*, world_id: str, rule: FreshnessRule | None, seen_until: datetime | None = None) -> int:
    """Recompute ``data_end`` and ``fresh_until`` of all current instances; return how many changed.

    Without a rule (no policy in force) nothing is fresh. In a replay only data up to ``seen_until``, the last close
    that the world's clock has passed, counts.
    """
    latest = None if seen_until is None else int(seen_until.timestamp())
    bound = StrategyInstance.objects.filter(world_id=world_id, withdrawn_at=None).order_by("id")
    instances = list(bound.select_for_update(no_key=True))
    extents: dict[int, list[Extent]] = {}
    tracks = SeriesTrack.objects.filter(instance__world_id=world_id, instance__withdrawn_at=None).order_by("id")
    for owner, provenance, first, last in tracks.values_list("instance_id", "provenance", "first_ts", "last_ts"):
        extents.setdefault(owner, []).append(_seen((provenance, first, last), latest))
    changed = []
    for instance in instances:
        present = currency(extents.get(instance.pk, ()), interval_seconds=instance.interval_seconds, rule=rule)
        if present != Currency(instance.first_data, instance.data_end, instance.fresh_until):
            instance.first_data, instance.data_end = present.first_data, present.data_end
            instance.fresh_until = present.fresh_until
            changed.append(instance)
    StrategyInstance.objects.bulk_update(changed, ["first_data", "data_end", "fresh_until"], batch_size=_BATCH)
    return len(changed)


def _seen(extent: Extent, latest: int | None) -> Extent:
    provenance, first, last = extent
    if latest is None or first is None or last is None or last <= latest:
        return extent
    return (provenance, first, latest) if first <= latest else (provenance, None, None)
