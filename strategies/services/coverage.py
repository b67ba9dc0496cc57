"""Take in how far data reaches where its bars stay with the client."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from qmtl_worlds.contracts.errors import InputInvalidError, StrategyNotFoundError
from strategies.models import Provenance, SeriesTrack, StrategyInstance
from strategies.series import FUTURE_SECONDS


@transaction.atomic
def note_coverage(*, world_id: str, strategy_id: str, first: datetime, last: datetime, now: datetime) -> None:
    """Let the paper series of a strategy's instances reach from ``first`` to ``last`` at least.

    Freshness follows once the caller has it recomputed; metrics still count bars only. ``now`` is the database's clock.

    Raises:
        StrategyNotFoundError: the strategy is not bound.
        InputInvalidError: the bounds are out of order, or lie ahead of the clock.
    """
    if first > last:
        raise InputInvalidError(field="coverage_bounds", reason="must rise")
    if last > now + timedelta(seconds=FUTURE_SECONDS):
        raise InputInvalidError(field="coverage_bounds", reason="lies ahead of the clock", kind="future_timestamp")
    bound = StrategyInstance.objects.filter(world_id=world_id, strategy_id=strategy_id, withdrawn_at=None)
    instances = list(bound.select_for_update(no_key=True))
    if not instances:
        raise StrategyNotFoundError(world_id, strategy_id)
    start, end = int(first.timestamp()), int(last.timestamp())
    for instance in instances:
        track, _ = SeriesTrack.objects.get_or_create(instance=instance, provenance=Provenance.PAPER)
        track.first_ts = start if track.first_ts is None else min(start, track.first_ts)
        track.last_ts = end if track.last_ts is None else max(end, track.last_ts)
        track.save(update_fields=["first_ts", "last_ts"])
