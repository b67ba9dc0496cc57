"""Django application ``audit``."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db import connections
from django.db.models.signals import post_migrate

from audit import checks, roles, triggers


class AuditConfig(AppConfig):
    """Protects the audit's tables, and what the other apps have registered."""

    name = "audit"

    def ready(self) -> None:
        """Register the rules and install them after every migrate."""
        triggers.protect(
            triggers.AppendOnly("audit_auditevent"),
            triggers.Immutable("audit_audithead", when="NEW.seq <> OLD.seq + 1 OR NEW.chain <> OLD.chain"),
            triggers.Immutable("audit_auditrun", when="OLD.state <> 'running'"),
            triggers.AppendOnly("audit_auditchunk"),
            triggers.AppendOnly("audit_audithighlight"),
            triggers.AppendOnly("audit_checkpoint"),
        )
        register(checks.check_triggers, Tags.database)
        post_migrate.connect(_protect, sender=self, dispatch_uid="audit.protect")


def _protect(*, using: str, **_ignored: object) -> None:
    triggers.install(connections[using])
    roles.refresh(connections[using])
