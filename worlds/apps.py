"""Django application ``worlds``."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db.models.signals import post_migrate, pre_migrate

from audit.triggers import AppendOnly, Guarded, Immutable, protect
from worlds import checks, migrating

_INCIDENT = {"sqlite": "json_extract(r.parameters, '$.incident')", "postgresql": "r.parameters ->> 'incident'"}
_UNGRANTED = (
    "OLD.kind = 'circuit' AND NOT EXISTS (SELECT 1 FROM worlds_reopening r JOIN worlds_world w ON w.id = r.world_id"
    " WHERE r.world_id = OLD.world_id AND r.subject = 'circuit' AND r.state = 'granted' AND {incident} = OLD.owner"
    " AND (r.second_person OR w.mode <> 'live'))"
)
_MILDER = (
    "OLD.kind = 'circuit' AND (NEW.kind <> OLD.kind OR NEW.owner <> OLD.owner OR NEW.scope <> OLD.scope"
    " OR NEW.world_id <> OLD.world_id OR NEW.expires_at IS NOT NULL"
    " OR (OLD.level = 'closed' AND NEW.level <> 'closed'))"
)


class WorldsConfig(AppConfig):
    """Registers the application and what the database must never let change."""

    name = "worlds"

    def ready(self) -> None:
        """Protect policy versions, committed sets, approvals and what a circuit holds from everyone."""
        protect(
            AppendOnly("worlds_policyversion"),
            AppendOnly("worlds_activationset"),
            AppendOnly("worlds_activationentry"),
            AppendOnly("worlds_approval"),
            AppendOnly("worlds_equitysnapshot"),
            Guarded(
                "worlds_gatehold",
                delete={vendor: _UNGRANTED.format(incident=incident) for vendor, incident in _INCIDENT.items()},
                update=dict.fromkeys(_INCIDENT, _MILDER),
            ),
            Immutable("worlds_reopening", when="OLD.state <> 'requested'"),
            Immutable("worlds_applyrun", when="OLD.state IN ('done', 'cancelled', 'rolled_back')"),
        )
        pre_migrate.connect(migrating.take_time, sender=self)
        post_migrate.connect(migrating.take_no_more_time, sender=self)
        register(checks.check_dev_open, Tags.security, deploy=True)
        register(checks.check_failpoints, Tags.security, deploy=True)
        register(checks.check_database_role, Tags.database, deploy=True)
