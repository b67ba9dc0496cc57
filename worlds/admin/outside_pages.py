"""What is measured from outside, and how far it is told there: equity, the circuit's memory, the relay."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from worlds.admin.badges import badge_html
from worlds.admin.scoped import ScopedAdmin, world_link
from worlds.models import CircuitState, EquitySnapshot, Relay


@admin.register(EquitySnapshot)
class EquitySnapshotAdmin(ScopedAdmin):
    """What portfolios were worth; never changes."""

    list_display = ("ts", "world_shown", "equity", "leverage", "var_95", "pushed_by", "received_at")
    search_fields = ("world__id", "pushed_by")
    ordering = ("-ts",)
    date_hierarchy = "ts"

    @admin.display(description="world", ordering="world_id")
    def world_shown(self, row: EquitySnapshot) -> SafeString:
        """Lead to the world."""
        return world_link(row.world_id)


@admin.register(CircuitState)
class CircuitStateAdmin(ScopedAdmin):
    """What the circuit of each world remembers; a reset is asked for on the world's page."""

    by_world = False
    list_display = (
        "world_shown",
        "state_shown",
        "incident",
        "tripped_at",
        "high_water",
        "high_water_at",
        "fresh_until",
    )
    list_filter = (("tripped_at", admin.EmptyFieldListFilter),)
    search_fields = ("world__id", "incident")

    @admin.display(description="world", ordering="world_id")
    def world_shown(self, row: CircuitState) -> SafeString:
        """Lead to the world."""
        return world_link(row.world_id)

    @admin.display(description="circuit", ordering="incident")
    def state_shown(self, row: CircuitState) -> SafeString:
        """Show whether it has tripped, or came near a limit."""
        return badge_html("tripped" if row.incident else "near a limit" if row.warned else "in its limits")


@admin.register(Relay)
class RelayAdmin(ScopedAdmin):
    """How far the outbox of each world was given to the bus."""

    by_world = False
    list_display = ("world_shown", "relayed", "behind", "compacted", "changed_at")
    list_select_related = ("world",)
    search_fields = ("world__id",)

    @admin.display(description="world", ordering="world_id")
    def world_shown(self, row: Relay) -> SafeString:
        """Lead to the world."""
        return world_link(row.world_id)

    @admin.display(description="behind by")
    def behind(self, row: Relay) -> int:
        """Count the changes that the bus has not been told of."""
        return max(0, row.world.sequence - row.relayed)
