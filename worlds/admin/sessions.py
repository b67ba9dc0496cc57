"""Runners: how far each has heard, and the page that says how far a world's newest state has spread."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from qmtl_worlds.contracts.acts import READ
from qmtl_worlds.contracts.digests import digest
from qmtl_worlds.contracts.errors import WorldNotFoundError
from worlds.admin.access import grants_of
from worlds.admin.acting import Status
from worlds.admin.badges import Badge, badge, code_html
from worlds.admin.menu import label_of
from worlds.admin.scoped import ScopedAdmin, world_link
from worlds.admin.words import ABSENT, ago, moment
from worlds.models import RunnerSession, World
from worlds.selectors import get_world, position_of
from worlds.services.sessions import connected_sessions, generations_at, held_by, spread_of
from worlds.stores.clock import database_now

MOST_SHOWN: Final = 500
HEARS: Final = {"poll": "asks", "stream": "stream", "websocket": "WebSocket"}


@dataclass(frozen=True, slots=True)
class RunnerView:
    """One Runner: what it holds, and whether that is the newest state."""

    row: RunnerSession
    state: Badge
    position: str
    generation: str
    hears: str
    skew: str
    seen: str
    connected: str


@admin.register(RunnerSession)
class RunnerSessionAdmin(ScopedAdmin):
    """Runners as they were last heard of; for display, never for a decision."""

    list_display = ("client_shown", "world_shown", "connection", "heard", "skew_ms", "seen_at", "acknowledged_at")
    list_filter = ("connection",)
    list_select_related = ("world",)
    search_fields = ("client_id", "token")
    date_hierarchy = "seen_at"
    readonly_fields = ("heard",)

    def get_urls(self) -> list[URLPattern]:
        """Add the page of each world, and the status that it asks for while it is open."""
        page, status = self.admin_site.admin_view(self.world_view), self.admin_site.admin_view(self.status_view)
        own = [
            path("of/<str:world_id>/", page, name="worlds_runners"),
            path("of/<str:world_id>/status/", status, name="worlds_runners_status"),
        ]
        return own + super().get_urls()

    def world_view(self, request: HttpRequest, world_id: str) -> HttpResponse:
        """Show the Runners of one world."""
        world, now = _readable(request, world_id), database_now()
        rows = connected_sessions(world, now=now)
        generations = generations_at(world, [held_by(row).sequence for row in rows[:MOST_SHOWN]])
        views = [_view(row, world=world, generations=generations, now=now) for row in rows[:MOST_SHOWN]]
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "list_name": label_of("RunnerSession"),
            "title": f"Runners of {world.id}",
            "world": world,
            "spread": spread_of(world, rows),
            "position": position_of(world).text,
            "runners": views,
            "more": max(0, len(rows) - MOST_SHOWN),
            "status": _status(world),
            "status_address": reverse("admin:worlds_runners_status", args=[world.id]),
            "clock": moment(now),
        }
        return TemplateResponse(request, "admin/worlds/runners.html", context)

    def status_view(self, request: HttpRequest, world_id: str) -> HttpResponse:
        """Tell whether the page is still right."""
        return JsonResponse(asdict(_status(_readable(request, world_id))))

    @admin.display(description="client", ordering="client_id")
    def client_shown(self, row: RunnerSession) -> SafeString:
        """Show the client id."""
        return code_html(row.client_id)

    @admin.display(description="world", ordering="world_id")
    def world_shown(self, row: RunnerSession) -> SafeString:
        """Lead to the world, and to all its Runners."""
        address = reverse("admin:worlds_runners", args=[row.world_id])
        return format_html('{} <a href="{}">its Runners</a>', world_link(row.world_id), address)

    @admin.display(description="has heard")
    def heard(self, row: RunnerSession) -> str:
        """Show how far it has heard, beside where its world is."""
        return f"{held_by(row).text} of {row.world.incarnation}.{row.world.sequence}"


def _readable(request: HttpRequest, world_id: str) -> World:
    if "\x00" in world_id or not grants_of(request).allows(READ, world_id):
        raise Http404
    try:
        return get_world(world_id)
    except WorldNotFoundError as error:
        raise Http404 from error


def _status(world: World) -> Status:
    rows = connected_sessions(world, now=database_now())
    told = [[row.client_id, held_by(row).text, row.connection] for row in rows]
    return Status(digest([position_of(world).text, sorted(told)]), busy=False)


def _view(row: RunnerSession, *, world: World, generations: dict[int, int], now: datetime) -> RunnerView:
    held, present = held_by(row), position_of(world)
    return RunnerView(
        row=row,
        state=badge("has it" if held >= present else "told nothing yet" if held.sequence == 0 else "behind"),
        position=held.text,
        generation=str(generations.get(held.sequence, ABSENT)),
        hears=HEARS.get(row.connection, row.connection or ABSENT),
        skew=ABSENT if row.skew_ms is None else f"{row.skew_ms:.0f} ms",
        seen=ago(row.seen_at, now=now),
        connected=ago(row.connected_at, now=now),
    )
