"""Evaluations: what was decided, for whom, and why, stage by stage."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from audit.models import AuditRun, AuditRunState
from audit.selectors import find_chunk
from qmtl_worlds.contracts.decision_record import RecordedDecision, decode_row
from qmtl_worlds.contracts.errors import InvalidError, NotFoundError
from qmtl_worlds.contracts.trace import TraceStep
from qmtl_worlds.explain import WORDS, explain, first_obstacle
from worlds.admin.acting import ActingAdmin, Button, Done, Page, Status, Submission
from worlds.admin.badges import Badge, badge, badge_html, code_html
from worlds.admin.evaluation_keys import keys_page
from worlds.admin.forms import RunForm
from worlds.admin.scoped import json_html, page_address, world_address, world_link
from worlds.admin.words import ABSENT, share, span
from worlds.models import ApplyRun
from worlds.services.apply import ApplyRequest, request_apply
from worlds.stores.clock import database_now


def _apply(sent: Submission) -> Done:
    request = ApplyRequest(sent.values["run_id"], sent.target.run_id)
    run = request_apply(world_id=sent.target.world_id, request=request, act=sent.act).run
    return Done("Asked for. See below what it changes and who must approve.", page_address(run))


APPLY = Button(
    name="apply",
    label="Request apply",
    permission="apply.request",
    afterwards=lambda _run: (
        "Whatever leaves because it may not trade any more, or shrinks, does so at once. The rest waits for another"
        " person's approval; until then the present set goes on trading."
    ),
    perform=_apply,
    form=RunForm,
    tone="primary",
    shown=lambda run: run.state in {AuditRunState.OK, AuditRunState.INCONCLUSIVE},
)


@dataclass(frozen=True, slots=True)
class Member:
    """One instance that the decision names."""

    key: str
    rank: int | None
    weight: str
    outcome: Badge
    address: str


@dataclass(frozen=True, slots=True)
class StepView:
    """One stage of a trace, as a row."""

    stage: str
    verdict: Badge
    rule: str
    value: str
    threshold: str
    margin: str
    note: str


class EvaluationAdmin(ActingAdmin):
    """One row an evaluation; its pages show the decision and explain each instance."""

    buttons = (APPLY,)
    list_display = ("run_shown", "world_shown", "kind", "state_shown", "as_of", "policy_version", "instance_count")
    list_filter = ("state", "kind")
    ordering = ("-pk",)
    search_fields = ("run_id", "request_id", "actor")
    date_hierarchy = "started_at"

    @admin.display(description="evaluation", ordering="run_id")
    def run_shown(self, run: AuditRun) -> SafeString:
        """Show the run id."""
        return code_html(run.run_id)

    @admin.display(description="world", ordering="world_id")
    def world_shown(self, run: AuditRun) -> SafeString:
        """Lead to the world."""
        return world_link(run.world_id)

    @admin.display(description="verdict", ordering="state")
    def state_shown(self, run: AuditRun) -> SafeString:
        """Show the verdict."""
        return badge_html(run.state)

    def get_urls(self) -> list[URLPattern]:
        """Add the page that explains one instance."""
        view = self.admin_site.admin_view(self.explain_view)
        return [path("<path:object_id>/explain/", view, name="audit_auditrun_explain"), *super().get_urls()]

    def page_of(self, request: HttpRequest, row: Any) -> Page:
        """Show the decision, or how long it has been computed."""
        run: AuditRun = row
        decision = json.loads(run.decision_bytes() or b"{}")
        everyone = keys_page(run, wanted=request.GET.get("q", ""), after=request.GET.get("after", ""))
        context = {
            "title": f"Evaluation {run.run_id}",
            "run": run,
            "state": badge(run.state),
            "decision": decision,
            "reason": WORDS.get(decision.get("reason"), ""),
            "members": _members(run, decision),
            "everyone": everyone,
            "keys": [(key, _explain_address(run, key)) for key in everyone.keys],
            "decision_json": json_html(decision),
            "applies": ApplyRun.objects.filter(evaluation=run).order_by("pk"),
            "world_address": world_address(run.world_id),
            "buttons": self.offered(request, run) if decision.get("has_plan") else [],
        }
        return Page("admin/worlds/evaluation.html", context)

    def explain_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Explain one instance (``?key=strategy_id|side``) in words and as a table.

        Raises:
            Http404: the evaluation has no such instance.
        """
        run: AuditRun = self.found(request, object_id)
        key = request.GET.get("key", "")
        chunk = find_chunk(run=run, key=key)
        if chunk is None:
            raise Http404
        try:
            recorded = decode_row(chunk, key)
        except (NotFoundError, InvalidError) as error:
            raise Http404 from error
        context = {
            **self.admin_site.each_context(request),
            "title": f"Why {key}",
            "opts": self.opts,
            "run": run,
            "recorded": recorded,
            "outcome": badge(recorded.outcome.value),
            "steps": [_step(step) for step in recorded.steps],
            "obstacle": _obstacle(recorded),
            "metrics": [(name, _figure(metric.value), metric.status) for name, metric in recorded.metrics.items()],
            "weight": share(recorded.weight),
            "weight_before": share(recorded.weight_before),
            "words": explain(recorded),
            "back": page_address(run),
        }
        return TemplateResponse(request, "admin/worlds/explain.html", context)

    def status_of(self, row: Any) -> Status:
        """Change when the evaluation has ended; busy until then."""
        busy = row.state == AuditRunState.RUNNING
        elapsed = (database_now() - row.started_at).total_seconds() if busy else 0.0
        return Status(row.state, busy=busy, elapsed_seconds=elapsed)


def _explain_address(run: AuditRun, key: str) -> str:
    return reverse("admin:audit_auditrun_explain", args=[run.pk], query={"key": key})


def _members(run: AuditRun, decision: dict[str, Any]) -> list[Member]:
    """Return whom the decision names, best rank first, those that leave last."""
    found = []
    for outcome in ("promote", "hold", "queued", "demote"):
        for key in decision.get(outcome, ()):
            rank, weight = decision["ranks"].get(key), decision["weights"].get(key)
            shown = share(weight) if weight else ABSENT
            found.append(Member(key, rank, shown, badge(outcome), _explain_address(run, key)))
    return sorted(found, key=lambda member: (member.rank is None, member.rank or 0, member.key))


def _step(step: TraceStep) -> StepView:
    notes = ["" if step.reason.value in {"ok", "not_reached"} else WORDS[step.reason]]
    notes += [f"blocked by {', '.join(step.blockers)}"] if step.blockers else []
    notes += [f"streak {step.streak} of {step.needed}"] if step.streak is not None else []
    notes += [f"{span(step.dwell_left_seconds)} of dwell left"] if step.dwell_left_seconds else []
    return StepView(
        stage=step.stage.value,
        verdict=badge(step.verdict.value),
        rule=step.rule,
        value=_figure(step.value),
        threshold=_figure(step.threshold),
        margin=span(step.margin) if step.stage.value == "currency" and step.margin else _figure(step.margin),
        note="; ".join(note for note in notes if note),
    )


def _obstacle(recorded: RecordedDecision) -> StepView | None:
    found = first_obstacle(recorded.steps)
    return None if found is None else _step(found)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
