"""Active sets, holds, the outbox, and what evaluations carry along: to be read."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from worlds.admin.badges import badge_html, code_html
from worlds.admin.scoped import ScopedAdmin, json_html, link, world_link
from worlds.admin.words import share
from worlds.models import ActivationEntry, ActivationSet, Demotion, GateHold, Heartbeat, OutboxEvent, StreakState


@admin.register(ActivationSet)
class ActivationSetAdmin(ScopedAdmin):
    """One row a generation."""

    list_display = ("generation", "world_shown", "size", "run_link", "created_at", "content_hash")
    list_select_related = ("world", "run")
    search_fields = ("world__id", "run__run_id", "content_hash")
    date_hierarchy = "created_at"
    readonly_fields = ("members",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ActivationSet]:
        """Count the members."""
        rows: QuerySet[ActivationSet] = super().get_queryset(request)
        return rows.annotate(size=Count("entries"))

    @admin.display(description="world", ordering="world_id")
    def world_shown(self, row: ActivationSet) -> SafeString:
        """Lead to the world."""
        return world_link(row.world_id)

    @admin.display(description="members", ordering="size")
    def size(self, row: Any) -> int:
        """Count the members."""
        return int(row.size)

    @admin.display(description="run")
    def run_link(self, row: ActivationSet) -> SafeString:
        """Lead to the run that made it."""
        return link(row.run, code_html(row.run.run_id))

    @admin.display(description="members")
    def members(self, row: ActivationSet) -> SafeString:
        """Show who is in at what weight."""
        entries = row.entries.select_related("instance").order_by("-weight")
        return json_html({str(entry.instance): share(entry.weight) for entry in entries})


@admin.register(ActivationEntry)
class ActivationEntryAdmin(ScopedAdmin):
    """One row a member of a set."""

    world_path = "set__world_id"
    list_display = ("instance", "set", "weight_shown", "promoted_at", "evaluation_run_id")
    list_select_related = ("set", "set__world", "instance")
    search_fields = ("instance__strategy_id", "evaluation_run_id")
    date_hierarchy = "promoted_at"

    @admin.display(description="weight", ordering="weight")
    def weight_shown(self, entry: ActivationEntry) -> str:
        """Show the share of capital."""
        return share(entry.weight)


@admin.register(GateHold)
class GateHoldAdmin(ScopedAdmin):
    """What keeps gates from being open."""

    list_display = ("kind", "level_shown", "world_shown", "scope_shown", "owner", "reason", "placed_by", "placed_at")
    list_filter = ("kind", "level")
    list_select_related = ("world",)
    search_fields = ("scope", "owner", "reason", "placed_by")
    date_hierarchy = "placed_at"

    @admin.display(description="level", ordering="level")
    def level_shown(self, hold: GateHold) -> SafeString:
        """Show how far it closes."""
        return badge_html(hold.level)

    @admin.display(description="world", ordering="world_id")
    def world_shown(self, hold: GateHold) -> SafeString:
        """Lead to the world."""
        return world_link(hold.world_id)

    @admin.display(description="scope", ordering="scope")
    def scope_shown(self, hold: GateHold) -> str:
        """Show what it holds."""
        return hold.scope or "the whole world"


@admin.register(OutboxEvent)
class OutboxEventAdmin(ScopedAdmin):
    """What the outside is told, in order."""

    list_display = ("sequence", "world_shown", "kind", "created_at", "payload")
    list_filter = ("kind",)
    list_select_related = ("world",)
    search_fields = ("kind",)
    date_hierarchy = "created_at"

    @admin.display(description="world", ordering="world_id")
    def world_shown(self, event: OutboxEvent) -> SafeString:
        """Lead to the world."""
        return world_link(event.world_id)


@admin.register(StreakState)
class StreakStateAdmin(ScopedAdmin):
    """Streaks, packed, one row a world."""

    by_world = False
    list_display = ("world", "revision", "selection_checksum", "updated_by_run", "updated_at", "size")
    list_select_related = ("world",)
    search_fields = ("world__id", "updated_by_run")
    date_hierarchy = "updated_at"

    @admin.display(description="bytes")
    def size(self, state: StreakState) -> int:
        """Count the bytes."""
        return len(state.columns)


@admin.register(Demotion)
class DemotionAdmin(ScopedAdmin):
    """Since when instances cool down."""

    world_path = "instance__world_id"
    list_display = ("instance", "world_shown", "demoted_at")
    list_select_related = ("instance",)
    search_fields = ("instance__strategy_id",)
    date_hierarchy = "demoted_at"

    @admin.display(description="world")
    def world_shown(self, demotion: Demotion) -> SafeString:
        """Lead to the world."""
        return world_link(demotion.instance.world_id)


@admin.register(Heartbeat)
class HeartbeatAdmin(ScopedAdmin):
    """When each process was last alive; whoever reads any world may know."""

    by_world = False
    list_display = ("process", "beat_at")
    search_fields = ("process",)
    date_hierarchy = "beat_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Heartbeat]:
        """Show all: they belong to no world."""
        return admin.ModelAdmin.get_queryset(self, request)
