"""The audit in the web admin: to be read, never written."""

from __future__ import annotations

import json

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.models import AuditEvent, AuditRun


class ReadOnlyAdmin:
    """Refuses adding, changing and deleting to everybody; looking needs the usual view permission."""

    def has_add_permission(self, _request: HttpRequest) -> bool:
        """Refuse."""
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: object = None) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: object = None) -> bool:
        """Refuse."""
        return False


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin, admin.ModelAdmin[AuditEvent]):
    """Who did what, newest first."""

    list_display = ("at", "chain", "seq", "kind", "actor", "subject", "reason")
    list_filter = ("kind", "chain")
    search_fields = ("actor", "subject", "run_id", "request_id")
    ordering = ("-pk",)
    show_full_result_count = False
    fields = (
        ("chain", "seq", "kind"),
        ("actor", "at"),
        "reason",
        "subject",
        ("before_value", "after_value"),
        ("run_id", "policy_version", "request_id"),
        ("prev_hash", "hash"),
    )
    readonly_fields = ("before_value", "after_value")

    @admin.display(description="before")
    def before_value(self, event: AuditEvent) -> SafeString:
        """Show the value before the change."""
        return _pretty(event.before)

    @admin.display(description="after")
    def after_value(self, event: AuditEvent) -> SafeString:
        """Show the value after the change."""
        return _pretty(event.after)


@admin.register(AuditRun)
class AuditRunAdmin(ReadOnlyAdmin, admin.ModelAdmin[AuditRun]):
    """What each evaluation read and decided, newest first."""

    list_display = ("run_id", "world_id", "kind", "state", "as_of", "policy_version", "instance_count", "finished_at")
    list_filter = ("state", "kind", "world_id")
    search_fields = ("run_id", "world_id", "request_id")
    ordering = ("-pk",)
    show_full_result_count = False
    fields = (
        ("world_id", "run_id", "kind", "state"),
        ("as_of", "now", "slot"),
        ("policy_version", "policy_checksum", "engine_version"),
        ("inputs_digest", "decision_digest", "chunks_digest"),
        ("actor", "reason", "request_id"),
        ("started_at", "finished_at", "error"),
        "inputs_value",
        "decision_value",
    )
    readonly_fields = ("inputs_value", "decision_value")

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditRun]:
        """Leave the decisions out of lists."""
        return super().get_queryset(request).defer("envelope", "inputs_json")

    @admin.display(description="inputs")
    def inputs_value(self, run: AuditRun) -> SafeString:
        """Show which blocks and revisions were read."""
        return _pretty(run.inputs)

    @admin.display(description="decision")
    def decision_value(self, run: AuditRun) -> SafeString:
        """Show the decision."""
        return _pretty(json.loads(run.decision_bytes() or b"null"))


def _pretty(value: object) -> SafeString:
    text = "-" if value is None else json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return format_html("<pre>{}</pre>", text)
