"""Routes of requests to open again what was closed: asked by one, granted by another where the world is live."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.response import Response

from qmtl_worlds.contracts.errors import ApprovalNeedsSessionError
from qmtl_worlds.contracts.ids import check_world_id
from worlds.api.authentication import BearerAuthentication, act_of, is_machine
from worlds.api.bodies import read_json
from worlds.api.endpoint import ApprovalEndpoint, reader_of
from worlds.api.openapi import Operation, documented
from worlds.api.queries import read_number
from worlds.api.shapes.gate import ReopeningBody, ReopeningShape, ReopeningsShape
from worlds.api.shapes.worlds import ReasonBody
from worlds.api.views.gate import scope_key
from worlds.models import Reopening
from worlds.services.kills import standing_kills
from worlds.services.reauthentication import reauthenticated_at
from worlds.services.reopening_requests import Asked, list_reopenings
from worlds.services.reopenings import ask, grant, reject


class ReopeningsView(ApprovalEndpoint):
    """The requests of a world."""

    def get_authenticators(self) -> list[BaseAuthentication]:
        """Let persons ask here too; they read in the admin."""
        if getattr(self.request, "method", "") == "GET":  # the document is made without a request
            return [BearerAuthentication()]
        return super().get_authenticators()

    @documented(Operation("listReopenings", "gate", "List requests to reopen", {200: ReopeningsShape}))
    def get(self, request: Request, world_id: str) -> Response:
        """List who asked for what, and how it was decided, newest first."""
        act = reader_of(request, world_id)
        seen = [
            one
            for one in list_reopenings(world_id)
            if not one.scope or act.grants.knows_strategy(one.scope.partition("|")[0])
        ]
        return Response(ReopeningsShape(reopenings=[reopening_shape(one) for one in seen]))

    @documented(
        Operation(
            "askReopening",
            "gate",
            "Ask that a kill be lifted",
            {200: ReopeningShape},
            body=ReopeningBody,
            problems=(409,),
            by_session=True,
        )
    )
    def post(self, request: Request, world_id: str) -> Response:
        """Ask that the kills that stand now be lifted; one that comes later stays.

        In a world that is not live, a person who may grant it and has just entered the password grants it by asking.
        """
        check_world_id(world_id)
        body = read_json(request, ReopeningBody)
        act = act_of(request, reason=body.reason)
        act.require("gate.reopen", world_id)
        key = scope_key(body.scope)
        scope = key.text if key else ""
        found = standing_kills(world_id=world_id, scope=scope)
        asked = Asked(world_id, Reopening.Subject.KILL, scope, found)
        entered = None if is_machine(request) else reauthenticated_at(request.session)
        return Response(reopening_shape(ask(asked=asked, reauthenticated_at=entered, act=act)))


class ReopeningVerbView(ApprovalEndpoint):
    """The decision on a request."""

    @documented(
        Operation(
            "{last}Reopening",
            "gate",
            "Grant or reject a request to reopen",
            {200: ReopeningShape},
            body=ReasonBody,
            problems=(409,),
            by_session=True,
        )
    )
    def post(self, request: Request, world_id: str, reopening_id: str, verb: str) -> Response:
        """Grant: needs a session in which the password was entered recently. Reject: it stays closed."""
        reader_of(request, world_id)
        number = read_number(reopening_id, field="reopening_id", least=1)
        if verb == "grant" and is_machine(request):
            raise ApprovalNeedsSessionError
        act = act_of(request, reason=read_json(request, ReasonBody).reason)
        if verb == "reject":
            return Response(reopening_shape(reject(world_id=world_id, reopening_id=number, act=act)))
        entered = reauthenticated_at(request.session)
        return Response(
            reopening_shape(grant(world_id=world_id, reopening_id=number, reauthenticated_at=entered, act=act))
        )


def reopening_shape(reopening: Reopening) -> ReopeningShape:
    """Return a request as callers see it."""
    return ReopeningShape(
        id=reopening.pk,
        world_id=reopening.world_id,
        subject=reopening.subject,
        scope=reopening.scope,
        state=reopening.state,
        second_person=reopening.second_person,
        parameters=reopening.parameters,
        requested_by=reopening.requested_by,
        requested_at=reopening.requested_at,
        reason=reopening.reason,
        decided_by=reopening.decided_by,
        decided_at=reopening.decided_at,
    )
