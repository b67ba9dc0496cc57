"""Policies: the text, what it means in words, what it changes, and who puts it in force."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from qmtl_worlds.policy.describe import describe
from qmtl_worlds.policy.diff import diff
from worlds.admin.access import grants_of, people_with, user_of
from worlds.admin.acting import ActingAdmin, Button, Details, Done, Page, Submission
from worlds.admin.badges import badge, badge_html
from worlds.admin.forms import SecondPersonForm
from worlds.admin.scoped import link, page_address, world_link
from worlds.admin.words import ABSENT
from worlds.models import PolicyChange, PolicyVersion
from worlds.services.authority import person_of
from worlds.services.policies import approve_policy, reject_policy, request_policy
from worlds.services.reauthentication import reauthenticated_at
from worlds.services.run_rows import compiled


def _request(sent: Submission) -> Done:
    change = request_policy(world_id=sent.target.world_id, version=sent.target.version, act=sent.act)
    return Done("Asked for. A second person must put it in force.", page_address(change))


def _approve(sent: Submission) -> Done:
    at = reauthenticated_at(sent.request.session)
    change = approve_policy(change_id=sent.target.pk, reauthenticated_at=at, act=sent.act)
    return Done(f"Version {change.policy.version} is in force.", page_address(change))


def _reject(sent: Submission) -> Done:
    change = reject_policy(change_id=sent.target.pk, act=sent.act)
    return Done("Rejected: the version in force stays.", page_address(change))


def differences(policy: PolicyVersion) -> list[dict[str, str]]:
    """Return what ``policy`` changes against the version in force, as text; empty where nothing is in force."""
    current = policy.world.policy
    if current is None:
        return []
    return [
        {"path": change.path, "before": _text(change.before), "after": _text(change.after), "kind": change.kind}
        for change in diff(compiled(current), compiled(policy))
    ]


def _text(value: object) -> str:
    return ABSENT if value is None else json.dumps(value, ensure_ascii=False)


def _change_details(_request: HttpRequest, change: PolicyChange) -> Details:
    return Details("admin/worlds/policy_meaning.html", _meaning(change.policy))


def _meaning(policy: PolicyVersion) -> dict[str, Any]:
    return {
        "policy": policy,
        "current": policy.world.policy,
        "differences": differences(policy),
        "words": describe(compiled(policy)).splitlines(),
    }


def _is_open(change: PolicyChange) -> bool:
    return change.state == PolicyChange.State.REQUESTED


def _after_version(policy: PolicyVersion) -> str:
    if policy.world.policy is None:
        return "Nothing trades until the version is in force and a first set is approved."
    return f"Version {policy.world.policy.version} goes on deciding until a second person puts this one in force."


@admin.register(PolicyVersion)
class PolicyVersionAdmin(ActingAdmin):
    """One row a version; new ones are uploaded on a world's page."""

    buttons = (
        Button(
            name="request",
            label="Request to put in force",
            permission="policy.request",
            afterwards=_after_version,
            perform=_request,
            tone="primary",
            shown=lambda policy: policy.world.policy_id != policy.pk,
            details=lambda _request, policy: Details("admin/worlds/policy_meaning.html", _meaning(policy)),
        ),
    )
    list_display = ("version_shown", "world_shown", "in_force", "lint_count", "author_shown", "created_at")
    list_select_related = ("world",)
    search_fields = ("world__id", "author", "checksum")
    date_hierarchy = "created_at"

    @admin.display(description="version", ordering="version")
    def version_shown(self, policy: PolicyVersion) -> str:
        """Show the number."""
        return f"v{policy.version}"

    @admin.display(description="world", ordering="world_id")
    def world_shown(self, policy: PolicyVersion) -> SafeString:
        """Lead to the world."""
        return world_link(policy.world_id)

    @admin.display(description="in force", boolean=True)
    def in_force(self, policy: PolicyVersion) -> bool:
        """Tell whether it decides now."""
        return policy.world.policy_id == policy.pk

    @admin.display(description="warnings")
    def lint_count(self, policy: PolicyVersion) -> int | str:
        """Count what lint says."""
        return len(policy.lint) or ABSENT

    @admin.display(description="author", ordering="author")
    def author_shown(self, policy: PolicyVersion) -> str:
        """Show who wrote it."""
        return policy.author.removeprefix("person:")

    def page_of(self, _request: HttpRequest, row: Any) -> Page:
        """Show the text, its meaning and its warnings."""
        policy: PolicyVersion = row
        context = {
            **_meaning(policy),
            "title": f"Policy {policy}",
            "lines": list(enumerate(policy.text.splitlines(), start=1)),
            "warned": {warning["line"] for warning in policy.lint},
            "changes": policy.changes.all()[:10],
        }
        return Page("admin/worlds/policy.html", context)


@admin.register(PolicyChange)
class PolicyChangeAdmin(ActingAdmin):
    """One row a request; a second person decides it."""

    buttons = (
        Button(
            name="approve",
            label="Put in force",
            permission="policy.approve",
            afterwards=lambda _change: (
                "The present set, until an apply changes it. From the next evaluation on this version decides; data"
                " older than it allows stop their strategies at once."
            ),
            perform=_approve,
            form=SecondPersonForm,
            tone="primary",
            shown=_is_open,
            details=_change_details,
        ),
        Button(
            name="reject",
            label="Reject",
            permission="policy.approve",
            afterwards=lambda _change: "Everything goes on as it is: the version in force stays.",
            perform=_reject,
            shown=_is_open,
        ),
    )
    list_display = ("policy", "world_shown", "state_shown", "requested_by", "requested_at", "decided_by", "decided_at")
    list_filter = ("state",)
    list_select_related = ("policy", "world")
    search_fields = ("world__id", "requested_by", "decided_by", "reason")
    date_hierarchy = "requested_at"

    @admin.display(description="world", ordering="world_id")
    def world_shown(self, change: PolicyChange) -> SafeString:
        """Lead to the world."""
        return world_link(change.world_id)

    @admin.display(description="state", ordering="state")
    def state_shown(self, change: PolicyChange) -> SafeString:
        """Show the state."""
        return badge_html(change.state)

    def page_of(self, request: HttpRequest, row: Any) -> Page:
        """Show what would change, and who must decide."""
        change: PolicyChange = row
        barred = tuple(person for person in (change.requester_person, change.policy.author_person) if person)
        own = person_of(user_of(request)) in barred
        offered = self.offered(request, change)
        context = {
            **_meaning(change.policy),
            "title": f"Put {change.policy} in force",
            "change": change,
            "state": badge(change.state),
            "own": own,
            "may_approve": grants_of(request).allows("policy.approve", change.world_id),
            "approvers": people_with("policy.approve", change.world_id, without=barred) if _is_open(change) else (),
            "buttons": [button for button in offered if not (own and button.label == "Put in force")],
            "policy_link": link(change.policy, f"version {change.policy.version}"),
        }
        return Page("admin/worlds/policy_change.html", context)
