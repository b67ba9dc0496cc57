"""Take in what Runners say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from qmtl_worlds.contracts.acts import Act
from strategies.services.append import SeriesTarget
from strategies.services.report import ReportedValues, ReportResult, report_metrics, report_metrics_of_many
from worlds.services.changes import locked_world


@transaction.atomic
def report(*, target: SeriesTarget, reported: ReportedValues, act: Act) -> ReportResult:
    """Store metrics that a Runner reports; policies read them as ``reported.<name>``."""
    act.require("series.push", target.world_id, strategy_id=target.strategy_id)
    locked_world(target.world_id)
    return report_metrics(target=target, reported=reported, act=act)


@transaction.atomic
def report_many(*, world_id: str, told: Mapping[str, Mapping[str, float]], as_of: datetime, act: Act) -> None:
    """Store what one caller reports of many strategies at once; nothing where one of them is refused."""
    for strategy_id in told:
        act.require("series.push", world_id, strategy_id=strategy_id)
    if told:
        locked_world(world_id)
        report_metrics_of_many(world_id=world_id, told=told, as_of=as_of, act=act)
