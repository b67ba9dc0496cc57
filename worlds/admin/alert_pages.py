"""Alerts of every readable world: what is open, what to do about it, and that somebody has seen it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from qmtl_worlds.contracts.errors import WorldsError
from worlds.admin.access import act_of, has_anywhere
from worlds.admin.acting import ActingAdmin, Button, Done, Page, Status, Submission
from worlds.admin.badges import badge, badge_html, code_html
from worlds.admin.scoped import json_html, page_address, world_link
from worlds.alerts import CATALOG
from worlds.models import Alert
from worlds.services.alerts import acknowledge_alert

PERMISSION = "alert.acknowledge"


class StateFilter(admin.SimpleListFilter):
    """Open alerts, unless others are asked for."""

    title = "state"
    parameter_name = "state"
    _WANTED: ClassVar = {
        None: Q(cleared_at=None),
        "unseen": Q(cleared_at=None, acknowledged_at=None),
        "over": Q(cleared_at__isnull=False),
    }

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> Sequence[tuple[str, str]]:
        """Offer the other states; open is what is shown without a choice."""
        return [("unseen", "open, seen by nobody"), ("over", "over"), ("all", "all")]

    def choices(self, changelist: Any) -> Any:
        """Call the choice of nothing what it is."""
        first, *others = super().choices(changelist)
        return [{**first, "display": "open"}, *others]

    def queryset(self, _request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the alerts of the chosen state."""
        wanted = self._WANTED.get(self.value())
        return queryset if wanted is None else queryset.filter(wanted)


def state_of(alert: Alert) -> str:
    """Return whether an alert is open, was seen, or is over."""
    if alert.cleared_at is not None:
        return "over"
    return "acknowledged" if alert.acknowledged_at else "unseen"


def advice_for(alert: Alert) -> str:
    """Return what to do about an alert; one of a kind that is not known any more has no advice."""
    known = CATALOG.get(alert.kind)
    return known.advice if known else ""


def _acknowledge(sent: Submission) -> Done:
    alert = acknowledge_alert(world_id=sent.target.world_id, alert_id=sent.target.pk, act=sent.act)
    told = "Acknowledged; it is over." if alert.cleared_at else "Acknowledged; it is over when its condition is."
    return Done(told, page_address(alert))


@admin.register(Alert)
class AlertAdmin(ActingAdmin):
    """One row an alert."""

    buttons = (
        Button(
            name="acknowledge",
            label="Acknowledge",
            permission=PERMISSION,
            afterwards=lambda _alert: "What trades now: an acknowledgement opens and closes nothing.",
            perform=_acknowledge,
            tone="primary",
            shown=lambda alert: alert.acknowledged_at is None,
            reason="Seen",
        ),
    )
    list_display = ("kind_shown", "severity_shown", "subject", "world_shown", "state_shown", "raised_at")
    list_filter = (StateFilter, "severity", "kind")
    search_fields = ("kind", "subject", "acknowledged_by")
    date_hierarchy = "raised_at"

    @admin.display(description="alert", ordering="kind")
    def kind_shown(self, alert: Alert) -> SafeString:
        """Show the kind."""
        return code_html(alert.kind)

    @admin.display(description="severity", ordering="severity")
    def severity_shown(self, alert: Alert) -> SafeString:
        """Show how soon somebody should look."""
        return badge_html(alert.severity)

    @admin.display(description="world", ordering="world_id")
    def world_shown(self, alert: Alert) -> SafeString:
        """Lead to the world."""
        return world_link(alert.world_id)

    @admin.display(description="state", ordering="cleared_at")
    def state_shown(self, alert: Alert) -> SafeString:
        """Show whether it is open."""
        return badge_html(state_of(alert))

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Offer the action to whoever may acknowledge somewhere; the service asks again for each world."""
        found = self.get_action("acknowledge_chosen") if has_anywhere(request, PERMISSION) else None
        return {} if found is None else {"acknowledge_chosen": found}

    @admin.action(description="Acknowledge the chosen alerts")
    def acknowledge_chosen(self, request: HttpRequest, chosen: QuerySet[Alert]) -> None:
        """Acknowledge each that nobody has; one that is refused does not keep the others."""
        done = 0
        for alert in chosen.filter(acknowledged_at=None):
            act = act_of(request, reason="Acknowledged from the list")
            try:
                acknowledge_alert(world_id=alert.world_id, alert_id=alert.pk, act=act)
            except WorldsError as error:
                messages.error(request, f"{alert} in {alert.world_id}: {error.detail}")
            else:
                done += 1
        messages.success(request, f"Acknowledged: {done}.")

    def page_of(self, _request: HttpRequest, row: Any) -> Page:
        """Show what happened, and what to do about it."""
        context = {
            "title": f"{row.kind} {row.subject}".strip(),
            "alert": row,
            "state": badge(state_of(row)),
            "severity": badge(row.severity),
            "advice": advice_for(row),
            "facts": json_html(row.facts) if row.facts else "",
        }
        return Page("admin/worlds/alert.html", context)

    def status_of(self, row: Any) -> Status:
        """Change when it is acknowledged or over."""
        return Status(f"{state_of(row)}:{row.acknowledged_at is not None}", busy=False)
