"""Overrides and pins: what people laid over the applied sets, until it ends."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from qmtl_worlds.contracts.ids import InstanceKey
from worlds.admin.acting import ActingAdmin, Button, Done, Submission
from worlds.admin.badges import badge_html, code_html
from worlds.admin.scoped import ScopedAdmin, page_address, world_address, world_link
from worlds.admin.words import share
from worlds.models import Override, Pin
from worlds.services.overrides import OverrideRequest, set_override


def end_override(sent: Submission, *, world_id: str, key: InstanceKey) -> Done:
    """Ask that nothing lie over the instance any more."""
    request = OverrideRequest(key=key, active=True, freeze=False, drain=False)
    overridden = set_override(world_id=world_id, request=request, act=sent.act)
    if overridden.waits is not None:
        return Done("Asked for. It lies there until another person grants this.", page_address(overridden.waits))
    return Done(f"Nothing lies over {key.text} any more.", world_address(world_id))


def cap_words(cap: float) -> str:
    """Return what a cap leaves of an instance."""
    if cap >= 1:
        return "no cap"
    return f"at most {share(cap)}" if cap > 0 else "inactive"


def _end(sent: Submission) -> Done:
    return end_override(sent, world_id=sent.target.world_id, key=InstanceKey.from_text(sent.target.scope))


@admin.register(Override)
class OverrideAdmin(ActingAdmin):
    """One row an instance; a new one is laid on the instance's page."""

    buttons = (
        Button(
            name="end",
            label="End the override",
            permission="override.request",
            afterwards=lambda _row: (
                "What trades now, until a second person grants this; then the instance at the weight that the active"
                " set gives it. One that has left the set comes back by an apply only."
            ),
            perform=_end,
        ),
    )
    list_display = ("scope_shown", "world_shown", "cap_shown", "set_by", "set_at", "expires_at", "stays_shown")
    list_filter = ("stays_closed",)
    search_fields = ("scope", "set_by", "reason")
    date_hierarchy = "set_at"

    @admin.display(description="instance", ordering="scope")
    def scope_shown(self, row: Override) -> SafeString:
        """Show the instance."""
        return code_html(row.scope)

    @admin.display(description="world", ordering="world_id")
    def world_shown(self, row: Override) -> SafeString:
        """Lead to the world."""
        return world_link(row.world_id)

    @admin.display(description="allows", ordering="cap")
    def cap_shown(self, row: Override) -> str:
        """Show what is left."""
        return cap_words(row.cap)

    @admin.display(description="state", ordering="stays_closed")
    def stays_shown(self, row: Override) -> SafeString:
        """Show whether it lasts beyond its time."""
        return badge_html("stays closed" if row.stays_closed else "in force")


@admin.register(Pin)
class PinAdmin(ScopedAdmin):
    """One row a pinned world; it is unpinned on the world's page."""

    by_world = False
    list_display = ("world_shown", "generation", "policy_version", "pinned_by", "pinned_at", "expires_at", "reason")
    search_fields = ("world__id", "pinned_by", "reason")
    date_hierarchy = "pinned_at"

    @admin.display(description="world", ordering="world_id")
    def world_shown(self, row: Pin) -> SafeString:
        """Lead to the world."""
        return world_link(row.world_id)
