"""Django application ``worlds``."""

from __future__ import annotations

from django.apps import AppConfig

from audit.triggers import AppendOnly, Immutable, protect


class WorldsConfig(AppConfig):
    """Registers the application and what the database must never let change."""

    name = "worlds"

    def ready(self) -> None:
        """Protect policy versions, committed sets and approvals from everyone."""
        protect(
            AppendOnly("worlds_policyversion"),
            AppendOnly("worlds_activationset"),
            AppendOnly("worlds_activationentry"),
            AppendOnly("worlds_approval"),
            AppendOnly("worlds_equitysnapshot"),
            Immutable("worlds_reopening", when="OLD.state <> 'requested'"),
            Immutable("worlds_applyrun", when="OLD.state IN ('done', 'cancelled', 'rolled_back')"),
        )
