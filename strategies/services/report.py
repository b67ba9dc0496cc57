"""Take in the metrics that Runners report themselves."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import InputInvalidError, SeriesConflictError, StrategyNotFoundError
from qmtl_worlds.contracts.ids import Side
from qmtl_worlds.contracts.metric_names import REPORTED_PREFIX
from strategies.models import ReportedMetric, StrategyInstance
from strategies.selectors import get_instance
from strategies.series import FUTURE_SECONDS
from strategies.services.append import SeriesTarget
from strategies.services.revision import correcting_revision, present_revision

MAX_METRICS: Final = 64
_BATCH: Final = 500
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class ReportedValues:
    """Metrics as of a time, by name with or without ``reported.``; ``revise`` allows corrections."""

    as_of: datetime
    values: Mapping[str, float]
    revise: bool = False


@dataclass(frozen=True, slots=True)
class ReportResult:
    """What became of the values; ``revision`` is None where nothing was stored."""

    stored: int
    unchanged: int
    revised: int
    revision: int | None


@transaction.atomic
def report_metrics(*, target: SeriesTarget, reported: ReportedValues, act: Act) -> ReportResult:
    """Store metrics of one instance.

    The same values again are left alone. Other values for the same time are a conflict, or with ``revise`` a
    correction. ``act.now`` is the database's clock.

    Raises:
        StrategyNotFoundError: the instance is not bound.
        InputInvalidError: a name is malformed, a value is NaN or infinite, or ``as_of`` is naive or lies ahead.
        SeriesConflictError: a value contradicts a stored one.
    """
    told, as_of = _checked(reported.values), reported.as_of
    _check_time(as_of, now=act.now)
    instance = get_instance(target.world_id, target.strategy_id, target.side, locked=True)
    known = _known(instance, as_of)
    new = {name: value for name, value in told.items() if known.get(name) != value}
    changed = sorted(name for name in new if name in known)
    if changed and not reported.revise:
        raise SeriesConflictError(row=list(told).index(changed[0]), ts=as_of.isoformat())
    result = ReportResult(len(new) - len(changed), len(told) - len(new), len(changed), None)
    if not new:
        return result
    revision = (correcting_revision if changed else present_revision)(world_id=instance.world_id)
    ReportedMetric.objects.bulk_create(
        ReportedMetric(instance=instance, name=name, as_of=as_of, revision=revision, value=value, reported_by=act.actor)
        for name, value in new.items()
    )
    return ReportResult(result.stored, result.unchanged, result.revised, revision)


@transaction.atomic
def report_metrics_of_many(
    *, world_id: str, told: Mapping[str, Mapping[str, float]], as_of: datetime, act: Act
) -> None:
    """Store metrics by strategy as of one time, corrections included, in as many statements as for one.

    Of a strategy whose long side alone is bound that is meant, as in ``report_metrics``; what is stored is left alone.

    Raises:
        StrategyNotFoundError: a strategy is not bound.
        InputInvalidError: as in ``report_metrics``, or both sides of a strategy are bound.
    """
    _check_time(as_of, now=act.now)
    checked = {strategy_id: _checked(values) for strategy_id, values in told.items()}
    instances = _instances(world_id, sorted(checked))
    known: dict[tuple[int, str], float] = {}
    rows = ReportedMetric.objects.filter(instance__in=instances.values(), as_of=as_of).order_by("revision")
    for instance_id, name, value in rows.values_list("instance_id", "name", "value"):
        known[instance_id, name] = value
    new = [
        (instances[strategy_id], name, value)
        for strategy_id, values in checked.items()
        for name, value in values.items()
        if known.get((instances[strategy_id].pk, name)) != value
    ]
    if not new:
        return
    is_correction = any((instance.pk, name) in known for instance, name, _ in new)
    revision = (correcting_revision if is_correction else present_revision)(world_id=world_id)
    ReportedMetric.objects.bulk_create(
        [
            ReportedMetric(
                instance=instance, name=name, as_of=as_of, revision=revision, value=value, reported_by=act.actor
            )
            for instance, name, value in new
        ],
        batch_size=_BATCH,
    )


def _instances(world_id: str, strategy_ids: Sequence[str]) -> dict[str, StrategyInstance]:
    """Return the one instance that is meant of each strategy, kept as it is until the caller's transaction ends."""
    bound = StrategyInstance.objects.filter(world_id=world_id, strategy_id__in=strategy_ids, withdrawn_at=None)
    found: dict[str, list[StrategyInstance]] = {}
    for instance in bound.select_for_update(no_key=True).order_by("id"):
        found.setdefault(instance.strategy_id, []).append(instance)
    for strategy_id in strategy_ids:
        sides = found.get(strategy_id, [])
        if len(sides) > 1:
            raise InputInvalidError(field="side", reason=f"of {strategy_id} must be named, because both are bound")
        if not sides or sides[0].key.side is not Side.LONG:
            raise StrategyNotFoundError(world_id, strategy_id)
    return {strategy_id: sides[0] for strategy_id, sides in found.items()}


def _checked(values: Mapping[str, float]) -> dict[str, float]:
    if not 1 <= len(values) <= MAX_METRICS:
        raise InputInvalidError(field="metrics", reason=f"must name 1 to {MAX_METRICS} metrics")
    told: dict[str, float] = {}
    for name, value in values.items():
        bare = name.removeprefix(REPORTED_PREFIX)
        if not _NAME.fullmatch(bare) or bare in told:
            raise InputInvalidError(field=f"metrics.{name}", reason=f"must match ^{_NAME.pattern}$ and come once")
        if not math.isfinite(value):
            raise InputInvalidError(field=f"metrics.{name}", reason="must be a finite number")
        told[bare] = float(value)
    return told


def _check_time(as_of: datetime, *, now: datetime) -> None:
    if as_of.tzinfo is None:
        raise InputInvalidError(field="as_of", reason="must carry a time zone")
    if as_of > now + timedelta(seconds=FUTURE_SECONDS):
        raise InputInvalidError(field="as_of", reason="lies ahead of the clock", kind="future_timestamp")


def _known(instance: StrategyInstance, as_of: datetime) -> dict[str, float]:
    """Return the latest revision of what is stored for the very same time."""
    rows = ReportedMetric.objects.filter(instance=instance, as_of=as_of).order_by("revision")
    return dict(rows.values_list("name", "value"))
