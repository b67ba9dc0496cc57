"""The pages of ``strategies`` and ``audit``, put behind the roles of the worlds."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from audit.chain import kill_chain
from audit.models import AuditChunk, AuditEvent, AuditHead, AuditHighlight, AuditRun, Checkpoint
from strategies import admin as register
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
from worlds.admin.access import worlds_where
from worlds.admin.evaluations import EvaluationAdmin
from worlds.admin.instances import InstancePage
from worlds.admin.scoped import ScopedAdmin, json_html


class RosterPage(ScopedAdmin, register.RosterAdmin):
    """Rosters of the readable worlds."""


class ReportedMetricPage(ScopedAdmin, register.ReportedMetricAdmin):
    """Reported metrics of the readable worlds."""

    world_path = "instance__world_id"


class SeriesHeadPage(ScopedAdmin, register.SeriesHeadAdmin):
    """Revisions of the readable worlds."""

    by_world = False


class SeriesTrackPage(ScopedAdmin, register.SeriesTrackAdmin):
    """Series of the readable worlds."""

    world_path = "instance__world_id"


class TailRowPage(ScopedAdmin, register.TailRowAdmin):
    """Bars of the readable worlds."""


class SegmentPage(ScopedAdmin, register.SegmentAdmin):
    """Segments of the readable worlds."""


class BlockLayoutPage(ScopedAdmin, register.BlockLayoutAdmin):
    """Layouts of the readable worlds."""


class BarBlockPage(ScopedAdmin, register.BarBlockAdmin):
    """Blocks of the readable worlds."""


class ChainScoped(ScopedAdmin):
    """Rows of chains: a world's own, its kills', and the system's for whoever audits every world."""

    permission = "audit.read"
    world_path = "chain"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Leave out the chains of worlds whose audit the person may not read."""
        rows, allowed = admin.ModelAdmin.get_queryset(self, request), worlds_where(request, self.permission)
        if allowed is None:
            return rows
        return rows.filter(Q(chain__in=[*allowed, *map(kill_chain, allowed)]))


class EventPage(ChainScoped):
    """Events of the readable chains."""

    list_display = ("at", "chain", "kind", "actor", "subject", "reason", "run_id", "seq")
    ordering = ("-pk",)
    search_fields = ("kind", "actor", "subject", "run_id", "request_id", "reason")
    date_hierarchy = "at"
    fields = (
        ("chain", "seq", "kind"),
        ("actor", "at"),
        "reason",
        "subject",
        ("before_value", "after_value"),
        ("run_id", "policy_version", "request_id"),
        ("prev_hash", "hash"),
    )
    readonly_fields = ("before_value", "after_value")

    @admin.display(description="before")
    def before_value(self, event: AuditEvent) -> SafeString:
        """Show the value before the change."""
        return json_html(event.before)

    @admin.display(description="after")
    def after_value(self, event: AuditEvent) -> SafeString:
        """Show the value after the change."""
        return json_html(event.after)


class HeadPage(ChainScoped):
    """Ends of the readable chains."""

    by_world = False
    list_display = ("chain", "seq", "hash")
    search_fields = ("chain",)


class CheckpointPage(ChainScoped):
    """Signed ends of the readable chains."""

    by_world = False
    list_display = ("chain", "seq", "created_at", "key_id", "hash")
    search_fields = ("chain",)


class ChunkPage(ScopedAdmin):
    """Packed decisions of the readable worlds."""

    world_path = "run__world_id"
    list_display = ("run", "first_key", "last_key", "size")
    list_select_related = ("run",)
    search_fields = ("run__run_id",)

    @admin.display(description="bytes")
    def size(self, chunk: AuditChunk) -> int:
        """Count the bytes."""
        return len(chunk.data)


class HighlightPage(ScopedAdmin):
    """What stood out in evaluations of the readable worlds."""

    world_path = "run__world_id"
    list_display = ("key", "kind", "run")
    list_filter = ("kind",)
    list_select_related = ("run",)
    search_fields = ("key", "run__run_id")


PAGES = {
    StrategyInstance: InstancePage,
    Roster: RosterPage,
    ReportedMetric: ReportedMetricPage,
    SeriesHead: SeriesHeadPage,
    SeriesTrack: SeriesTrackPage,
    TailRow: TailRowPage,
    Segment: SegmentPage,
    BlockLayout: BlockLayoutPage,
    BarBlock: BarBlockPage,
    AuditEvent: EventPage,
    AuditRun: EvaluationAdmin,
    AuditHead: HeadPage,
    Checkpoint: CheckpointPage,
    AuditChunk: ChunkPage,
    AuditHighlight: HighlightPage,
}

for model, page in PAGES.items():
    if admin.site.is_registered(model):
        admin.site.unregister(model)
    admin.site.register(model, page)
