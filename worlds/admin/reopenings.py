"""Requests to open again what was closed: their pages, and the buttons that decide."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from worlds.admin.access import grants_of, user_of
from worlds.admin.acting import ActingAdmin, Button, ButtonLink, Details, Done, Page, Status, Submission
from worlds.admin.badges import badge, badge_html
from worlds.admin.forms import ReasonForm, SecondPersonForm
from worlds.admin.reopening_words import details_of, grant_permission, is_yours, what_is_asked, who_grants
from worlds.admin.scoped import page_address, world_link
from worlds.admin.words import person_name
from worlds.models import Reopening
from worlds.services.authority import person_of
from worlds.services.reauthentication import reauthenticated_at
from worlds.services.reopening_requests import RULES
from worlds.services.reopenings import grant, reject

_AFTER_GRANT: Final = {
    Reopening.Subject.KILL: "What the active set says, unless something else holds the gate; see the holds.",
    Reopening.Subject.CIRCUIT: "What the active set says, unless something else holds the gate. New samples are judged"
    " anew.",
    Reopening.Subject.OVERRIDE: "The instance by what is asked for here, and never more than the active set gives it.",
    Reopening.Subject.AWAITING_FLAT: "The instance at its weight, though no Runner has confirmed a flat position.",
}


def _grant(sent: Submission) -> Done:
    at = reauthenticated_at(sent.request.session)
    row = grant(world_id=sent.target.world_id, reopening_id=sent.target.pk, reauthenticated_at=at, act=sent.act)
    return Done(f"Granted: {what_is_asked(row)}.", page_address(row))


def _reject(sent: Submission) -> Done:
    row = reject(world_id=sent.target.world_id, reopening_id=sent.target.pk, act=sent.act)
    return Done("It stays closed.", page_address(row))


def _details(_request: HttpRequest, row: Reopening) -> Details:
    return Details("admin/worlds/asked.html", {"reopening": row, "details": details_of(row)})


def _waits(row: Reopening) -> bool:
    return row.state == Reopening.State.REQUESTED


def _button(
    name: str, label: str, perform: Any, *, form: type[ReasonForm] = ReasonForm, afterwards: Any = None
) -> Button:
    return Button(
        name=name,
        label=label,
        permission="",
        afterwards=afterwards or (lambda _row: "What trades now, and no more."),
        perform=perform,
        form=form,
        tone="primary" if name == "grant" else "plain",
        shown=_waits,
        details=lambda _request, row: Details(
            "admin/worlds/asked.html", {"reopening": row, "details": details_of(row)}
        ),
    )


GRANT: Final = _button(
    "grant",
    "Grant",
    _grant,
    form=SecondPersonForm,
    afterwards=lambda row: _AFTER_GRANT[Reopening.Subject(row.subject)],
)
REJECT: Final = _button("reject", "Reject", _reject)
WITHDRAW: Final = _button("withdraw", "Take the request back", _reject)


@admin.register(Reopening)
class ReopeningAdmin(ActingAdmin):
    """One row a request."""

    buttons = (GRANT, REJECT, WITHDRAW)
    list_display = ("asked", "world_shown", "state_shown", "asked_by", "requested_at", "decided_by", "decided_at")
    list_filter = ("state", "subject")
    search_fields = ("scope", "requested_by", "decided_by", "reason")
    date_hierarchy = "requested_at"

    def name_of(self, row: Any) -> str:
        """Return what is asked for."""
        return what_is_asked(row)

    def permission_of(self, button: Button, row: Any) -> str:
        """Ask for the right to grant this subject; whoever asked may take it back with the right to ask."""
        return RULES[Reopening.Subject(row.subject)].ask if button is WITHDRAW else grant_permission(row)

    def offered(self, request: HttpRequest, row: Any) -> list[ButtonLink]:
        """Offer to grant and to reject, or to take back, not what the services would refuse."""
        own = row.requested_by == f"person:{user_of(request).get_username()}"
        wanted = {"grant", "reject"} if is_yours(row, person=person_of(user_of(request)), may_grant=True) else set()
        wanted |= {"withdraw"} if own else {"reject"}
        wanted -= {"reject"} if own else set()
        return [link for link in super().offered(request, row) if link.name in wanted]

    @admin.display(description="asked for", ordering="subject")
    def asked(self, row: Reopening) -> str:
        """Show what is to be opened."""
        return what_is_asked(row)

    @admin.display(description="world", ordering="world_id")
    def world_shown(self, row: Reopening) -> SafeString:
        """Lead to the world."""
        return world_link(row.world_id)

    @admin.display(description="state", ordering="state")
    def state_shown(self, row: Reopening) -> SafeString:
        """Show where it stands."""
        return badge_html(row.state)

    @admin.display(description="asked by", ordering="requested_by")
    def asked_by(self, row: Reopening) -> str:
        """Show who asked."""
        return person_name(row.requested_by)

    def page_of(self, request: HttpRequest, row: Any) -> Page:
        """Show what is asked for, and who may decide."""
        may_grant = grants_of(request).allows(grant_permission(row), row.world_id)
        person = person_of(user_of(request))
        context = {
            "title": what_is_asked(row),
            "reopening": row,
            "state": badge(row.state),
            "details": details_of(row),
            "approvers": who_grants(row) if _waits(row) else (),
            "own": row.second_person and person == row.requester_person,
            "may_approve": may_grant,
        }
        return Page("admin/worlds/reopening.html", context)

    def status_of(self, row: Any) -> Status:
        """Change when it is decided."""
        return Status(row.state, busy=False)
