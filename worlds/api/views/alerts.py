"""Routes of alerts: what somebody should know of, and that somebody does."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from qmtl_worlds.contracts.errors import PermissionDeniedError
from worlds.alerts import CATALOG
from worlds.api.authentication import act_of
from worlds.api.bodies import read_json
from worlds.api.endpoint import ApprovalEndpoint, Endpoint, reader_of
from worlds.api.openapi import Operation, documented
from worlds.api.queries import read_number, read_query
from worlds.api.shapes.risk import AlertPage, AlertQuery, AlertShape
from worlds.api.shapes.worlds import ReasonBody
from worlds.models import Alert
from worlds.selectors import get_world
from worlds.services.alerts import acknowledge_alert, failed_changes, list_alerts


class AlertsView(Endpoint):
    """The alerts of a world."""

    @documented(Operation("listAlerts", "risk", "List alerts", {200: AlertPage}, query=AlertQuery))
    def get(self, request: Request, world_id: str) -> Response:
        """List alerts, newest first; `open=true` leaves out those that are over."""
        act = reader_of(request, world_id)
        if act.grants.strategies is not None:
            raise PermissionDeniedError(act.actor, permission="world.read of every strategy")
        get_world(world_id)
        query = read_query(request, AlertQuery)
        before = read_number(query.cursor, field="cursor") if query.cursor else None
        found = list_alerts(world_id=world_id, open_only=query.open, before=before, limit=query.limit + 1)
        page = found[: query.limit]
        failed = failed_changes(world_id=world_id)
        return Response(
            AlertPage(
                alerts=[_shape(one) for one in page],
                next_cursor=str(page[-1].pk) if len(found) > query.limit else "",
                promotion_fail_total=failed.promotion_fail_total,
                demotion_fail_total=failed.demotion_fail_total,
            )
        )


class AcknowledgeView(ApprovalEndpoint):
    """A person's note of an alert."""

    @documented(
        Operation(
            "acknowledgeAlert",
            "risk",
            "Acknowledge an alert",
            {200: AlertShape},
            body=ReasonBody,
            problems=(409,),
            by_session=True,
        )
    )
    def post(self, request: Request, world_id: str, alert_id: str) -> Response:
        """Note that somebody has seen it; one that lasts until then is over. Twice is once."""
        reader_of(request, world_id)
        number = read_number(alert_id, field="alert_id", least=1)
        act = act_of(request, reason=read_json(request, ReasonBody).reason)
        return Response(_shape(acknowledge_alert(world_id=world_id, alert_id=number, act=act)))


def _shape(alert: Alert) -> AlertShape:
    return AlertShape(
        id=alert.pk,
        kind=alert.kind,
        subject=alert.subject,
        severity=alert.severity,
        text=alert.detail,
        advice=CATALOG[alert.kind].advice,
        facts=alert.facts,
        sequence=alert.sequence,
        raised_at=alert.raised_at,
        cleared_at=alert.cleared_at,
        acknowledged_by=alert.acknowledged_by,
        acknowledged_at=alert.acknowledged_at,
    )
