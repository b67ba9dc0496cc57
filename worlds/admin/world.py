"""Worlds: the list, and the page that says everything in one look."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from qmtl_worlds.contracts.states import RunState
from worlds.admin.access import grants_of, roles_in, user_of
from worlds.admin.acting import ActingAdmin, Page, Status
from worlds.admin.badges import badge_html
from worlds.admin.gates import gates_of
from worlds.admin.kill_buttons import KILL_BUTTONS
from worlds.admin.opening_buttons import OPENING_BUTTONS
from worlds.admin.scoped import act_address
from worlds.admin.words import ABSENT
from worlds.admin.world_buttons import BUTTONS, CREATE
from worlds.admin.world_page import running_evaluation, world_page
from worlds.models import ApplyRun, Reopening, World
from worlds.selectors import get_world, position_of
from worlds.services.step_facts import filed_holds
from worlds.stores.clock import database_now

HEADING: Final = frozenset({"kill", "evaluate", "rollback", "upload", "archive"})
"""The buttons at the top; the others stand beside what they change."""


class WorldList(ChangeList):
    """A page of the list, with the gate of each world on it."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the page, then the gates of its worlds in a fixed number of queries."""
        super().get_results(request)
        worlds = list(self.result_list)
        gates = gates_of(worlds, now=database_now())
        for world in worlds:
            world.shown_gate = gates[world.id]
        self.result_list = worlds


@admin.register(World)
class WorldAdmin(ActingAdmin):
    """One row a world; its page is our own."""

    world_path = "id"
    buttons = (*KILL_BUTTONS, *BUTTONS, *OPENING_BUTTONS)
    add_button = CREATE
    by_world = False
    list_display = ("id", "name", "mode_shown", "state_shown", "gate_shown", "generation", "policy", "waiting", "owner")
    list_display_links = ("id",)
    list_filter = ("mode", "state", "paused")
    list_select_related = ("policy",)
    search_fields = ("id", "name", "owner", "description")
    date_hierarchy = "created_at"

    def world_of(self, row: Any) -> str:
        """Return the world's own id."""
        return str(row.id)

    def get_queryset(self, request: HttpRequest) -> QuerySet[World]:
        """Count beside each world what waits for a decision in it."""
        waiting = Count("apply_runs", filter=Q(apply_runs__state=RunState.REQUESTED.value))
        rows: QuerySet[World] = super().get_queryset(request)
        return rows.annotate(waiting_count=waiting)

    def get_changelist(self, *_args: Any, **_kwargs: Any) -> type[ChangeList]:
        """List worlds with their gates."""
        return WorldList

    @admin.display(description="mode", ordering="mode")
    def mode_shown(self, world: World) -> SafeString:
        """Show the mode."""
        return badge_html(world.mode)

    @admin.display(description="state", ordering="state")
    def state_shown(self, world: World) -> SafeString:
        """Show whether the world is in use."""
        return badge_html(world.state)

    @admin.display(description="gate")
    def gate_shown(self, world: Any) -> SafeString:
        """Show how far the gate is open."""
        return badge_html(world.shown_gate.gate.level.value)

    @admin.display(description="waits for approval")
    def waiting(self, world: Any) -> int | str:
        """Show how many runs wait."""
        return int(world.waiting_count) or ABSENT

    def page_of(self, request: HttpRequest, row: Any) -> Page:
        """Show the world in one look."""
        world = get_world(row.id)
        grants = grants_of(request)
        page = world_page(world, now=database_now(), grants=grants)
        evaluation, offered = page.evaluation, self.offered(request, row)
        context = {
            "title": world.id,
            "page": page,
            "buttons": [link for link in offered if link.name in HEADING],
            "stops": [(stop, [link for link in offered if link.name in stop.buttons]) for stop in page.stops],
            "reset": next((link for link in offered if link.name == "reset-circuit"), None),
            "unpin": next((link for link in offered if link.name == "unpin"), None),
            "read_all": reverse("admin:worlds_alert_changelist", query={"world": world.id}),
            "world": world,
            "roles": roles_in(user_of(request), world.id),
            "may_apply": grants.allows("apply.request", world.id),
            "may_roll_back": grants.allows("rollback.request", world.id),
            "apply_address": act_address(evaluation.run, "apply") if evaluation else "",
        }
        return Page("admin/worlds/world.html", context)

    def status_of(self, row: Any) -> Status:
        """Change with every visible change of the world, and with what is under way in it."""
        running = running_evaluation(row.id)
        applying = ApplyRun.objects.filter(world_id=row.id).values_list("run_id", "state").order_by("-pk").first()
        now = database_now()
        asked = Reopening.objects.filter(world_id=row.id).values_list("pk", "state").order_by("-pk").first()
        filed = len(filed_holds(row.id))
        return Status(
            token=f"{position_of(row).text}:{running.run_id if running else ''}:{applying}:{asked}:{filed}",
            busy=running is not None,
            elapsed_seconds=(now - running.started_at).total_seconds() if running else 0.0,
        )
