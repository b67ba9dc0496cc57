"""The register in the web admin: to be read; strategies come and go through services.

``worlds.admin`` puts these pages behind the roles of the worlds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from strategies.models import (
    BarBlock,
    BlockLayout,
    ReportedMetric,
    Roster,
    Segment,
    SeriesHead,
    SeriesTrack,
    StrategyInstance,
    TailRow,
)


class RegisterAdmin(admin.ModelAdmin[Any]):
    """Rows that only services write."""

    show_full_result_count = False
    list_per_page = 50
    actions = None

    def has_add_permission(self, _request: HttpRequest) -> bool:
        """Refuse."""
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: Model | None = None) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: Model | None = None) -> bool:
        """Refuse."""
        return False


@admin.register(StrategyInstance)
class StrategyInstanceAdmin(RegisterAdmin):
    """Who may become active, and how fresh their data are."""

    list_display = ("strategy_id", "side", "world", "sector", "wanted", "data_end", "fresh_until", "withdrawn_at")
    list_filter = ("side", "wanted", ("withdrawn_at", admin.EmptyFieldListFilter))
    list_select_related = ("world",)
    search_fields = ("strategy_id", "sector", "submitted_by")
    date_hierarchy = "bound_at"
    fields = (
        ("strategy_id", "side", "world"),
        ("sector", "wanted", "interval_seconds"),
        ("first_data", "data_end", "fresh_until"),
        ("bound_at", "withdrawn_at", "submitted_by"),
        ("params", "params_digest"),
        "tags",
    )


@admin.register(Roster)
class RosterAdmin(RegisterAdmin):
    """Which strategies a world wants."""

    list_display = ("world", "size", "set_by", "set_at")
    list_select_related = ("world",)
    search_fields = ("world__id", "set_by")
    date_hierarchy = "set_at"

    @admin.display(description="strategies")
    def size(self, roster: Roster) -> int:
        """Count the wanted strategies."""
        return len(roster.strategies)


@admin.register(ReportedMetric)
class ReportedMetricAdmin(RegisterAdmin):
    """What Runners report themselves."""

    list_display = ("name", "instance", "value", "as_of", "reported_by", "revision")
    list_select_related = ("instance",)
    search_fields = ("name", "instance__strategy_id")
    date_hierarchy = "as_of"


@admin.register(SeriesHead)
class SeriesHeadAdmin(RegisterAdmin):
    """The present data revision of each world."""

    list_display = ("world", "revision")
    list_select_related = ("world",)
    search_fields = ("world__id",)


@admin.register(SeriesTrack)
class SeriesTrackAdmin(RegisterAdmin):
    """How far each series reaches."""

    list_display = ("instance", "provenance", "first_time", "last_time", "equity")
    list_filter = ("provenance",)
    list_select_related = ("instance",)
    search_fields = ("instance__strategy_id",)

    @admin.display(description="first", ordering="first_ts")
    def first_time(self, track: SeriesTrack) -> datetime | None:
        """Show the first bar's close."""
        return _time(track.first_ts)

    @admin.display(description="last", ordering="last_ts")
    def last_time(self, track: SeriesTrack) -> datetime | None:
        """Show the last bar's close."""
        return _time(track.last_ts)


@admin.register(TailRow)
class TailRowAdmin(RegisterAdmin):
    """Bars that are in no block yet."""

    list_display = ("instance", "time", "ret", "leverage", "turnover", "trades", "provenance", "revision")
    list_filter = ("provenance",)
    list_select_related = ("instance",)
    search_fields = ("instance__strategy_id",)

    @admin.display(description="close", ordering="ts")
    def time(self, row: TailRow) -> datetime | None:
        """Show the bar's close."""
        return _time(row.ts)


@admin.register(Segment)
class SegmentAdmin(RegisterAdmin):
    """Stretches of bars that came in together."""

    list_display = ("instance", "first_time", "last_time", "provenance", "revision", "size")
    list_filter = ("provenance",)
    list_select_related = ("instance",)
    search_fields = ("instance__strategy_id",)

    @admin.display(description="first", ordering="first_ts")
    def first_time(self, segment: Segment) -> datetime | None:
        """Show the first bar's close."""
        return _time(segment.first_ts)

    @admin.display(description="last", ordering="last_ts")
    def last_time(self, segment: Segment) -> datetime | None:
        """Show the last bar's close."""
        return _time(segment.last_ts)

    @admin.display(description="bytes")
    def size(self, segment: Segment) -> int:
        """Count the bytes of the returns."""
        return len(segment.ret)


@admin.register(BlockLayout)
class BlockLayoutAdmin(RegisterAdmin):
    """Which instances the cells of blocks belong to."""

    list_display = ("world", "digest", "size")
    list_select_related = ("world",)
    search_fields = ("world__id", "digest")

    @admin.display(description="instances")
    def size(self, layout: BlockLayout) -> int:
        """Count the instances."""
        return len(layout.instances) // 8


@admin.register(BarBlock)
class BarBlockAdmin(RegisterAdmin):
    """One bar of many instances each."""

    list_display = ("world", "time", "provenance", "revision", "size")
    list_filter = ("provenance",)
    list_select_related = ("world",)
    search_fields = ("world__id",)

    @admin.display(description="close", ordering="ts")
    def time(self, block: BarBlock) -> datetime | None:
        """Show the bar's close."""
        return _time(block.ts)

    @admin.display(description="bytes")
    def size(self, block: BarBlock) -> int:
        """Count the bytes of the returns."""
        return len(block.ret)


def _time(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
