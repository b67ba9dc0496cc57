"""Take in what Runners say of themselves."""

from __future__ import annotations

from django.db import transaction

from qmtl_worlds.contracts.acts import Act
from strategies.services.append import SeriesTarget
from strategies.services.report import ReportedValues, ReportResult, report_metrics
from worlds.services.changes import locked_world


@transaction.atomic
def report(*, target: SeriesTarget, reported: ReportedValues, act: Act) -> ReportResult:
    """Store metrics that a Runner reports; policies read them as ``reported.<name>``."""
    act.require("series.push", target.world_id, strategy_id=target.strategy_id)
    locked_world(target.world_id)
    return report_metrics(target=target, reported=reported, act=act)
