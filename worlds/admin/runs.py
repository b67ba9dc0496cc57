"""Apply runs: what a plan changes, who must say yes, and how far it is."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from qmtl_worlds.contracts.states import TERMINAL_STATES, RunKind, RunState
from worlds.admin.access import grants_of, people_with, user_of
from worlds.admin.acting import ActingAdmin, Page, Status
from worlds.admin.badges import badge, badge_html, code_html
from worlds.admin.plan_view import plan_view
from worlds.admin.run_buttons import RUN_BUTTONS
from worlds.admin.scoped import ScopedAdmin, link, world_link
from worlds.admin.words import ABSENT, RUN_STATES, STEP_WORDS, STEPS
from worlds.models import ApplyRun, Approval
from worlds.services.approval_facts import other_persons
from worlds.services.authority import person_of
from worlds.stores.clock import database_now


@admin.register(ApplyRun)
class ApplyRunAdmin(ActingAdmin):
    """One row a run; its page shows the plan."""

    buttons = RUN_BUTTONS
    list_display = (
        "run_shown",
        "world_shown",
        "kind",
        "state_shown",
        "changes",
        "asked_by",
        "requested_at",
        "state_reason",
    )
    list_filter = ("state", "kind")
    list_select_related = ("world", "policy")
    search_fields = ("run_id", "requested_by", "reason", "request_id")
    date_hierarchy = "requested_at"

    @admin.display(description="run", ordering="run_id")
    def run_shown(self, run: ApplyRun) -> SafeString:
        """Show the run id."""
        return code_html(run.run_id)

    @admin.display(description="world", ordering="world_id")
    def world_shown(self, run: ApplyRun) -> SafeString:
        """Lead to the world."""
        return world_link(run.world_id)

    @admin.display(description="state", ordering="state")
    def state_shown(self, run: ApplyRun) -> SafeString:
        """Show the state."""
        return badge_html(run.state)

    @admin.display(description="changes")
    def changes(self, run: ApplyRun) -> int:
        """Count the instances that the plan changes."""
        return len(run.plan["reasons"])

    @admin.display(description="asked by", ordering="requested_by")
    def asked_by(self, run: ApplyRun) -> str:
        """Show who asked."""
        return run.requested_by.removeprefix("person:")

    @admin.display(description="result")
    def result(self, run: ApplyRun) -> str:
        """Show how it ended."""
        return str((run.result or {}).get("outcome", ABSENT))

    def page_of(self, request: HttpRequest, row: Any) -> Page:
        """Show the plan, who must decide, and how far the run is."""
        run: ApplyRun = row
        barred, waits = other_persons(run), run.state == RunState.REQUESTED
        own = person_of(user_of(request)) in barred
        may_approve = grants_of(request).allows("apply.approve", run.world_id)
        pointless = {"Approve"} if own else {"Withdraw the request"} if may_approve else set()
        context = {
            "title": f"Apply {run.run_id}",
            "run": run,
            "state": badge(run.state),
            "state_words": RUN_STATES[RunState(run.state)],
            "steps": _steps(run),
            "plan": plan_view(run.transition_plan),
            "approvals": list(run.approvals.all()),
            "approvers": people_with("apply.approve", run.world_id, without=barred) if waits else (),
            "own": own,
            "may_approve": may_approve,
            "buttons": [button for button in self.offered(request, run) if button.label not in pointless],
        }
        return Page("admin/worlds/run.html", context)

    def status_of(self, row: Any) -> Status:
        """Change with the run's state and its approvals; busy until it waits for a person or has ended."""
        waits = row.state in TERMINAL_STATES or row.state in {RunState.REQUESTED, RunState.HELD}
        elapsed = 0.0 if waits else (database_now() - row.state_changed_at).total_seconds()
        return Status(f"{row.state}:{row.approvals.count()}:{row.epoch}", busy=not waits, elapsed_seconds=elapsed)


def _steps(run: ApplyRun) -> list[dict[str, object]]:
    """Return the way of the run with how far it is; nothing is current in a run that left the way."""
    way = STEPS[RunKind(run.kind)]
    place = way.index(RunState(run.state)) if run.state in way else -1
    return [
        {"word": STEP_WORDS[step], "done": index < place or run.state == RunState.DONE, "current": index == place}
        for index, step in enumerate(way)
        if not (run.auto and step is RunState.REQUESTED)
    ]


@admin.register(Approval)
class ApprovalAdmin(ScopedAdmin):
    """Who approved what."""

    world_path = "run__world_id"
    list_display = ("approver", "run_link", "world_shown", "round", "base_generation", "reason", "created_at")
    list_select_related = ("run", "run__world")
    search_fields = ("approver", "run__run_id", "reason")
    date_hierarchy = "created_at"

    @admin.display(description="run")
    def run_link(self, approval: Approval) -> SafeString:
        """Lead to the run."""
        return link(approval.run, code_html(approval.run.run_id))

    @admin.display(description="world")
    def world_shown(self, approval: Approval) -> SafeString:
        """Lead to the world."""
        return world_link(approval.run.world_id)
