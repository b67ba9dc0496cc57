"""Routes of an operator's acts on the gates: each can be taken back by its own opposite only."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from qmtl_worlds.contracts.ids import check_world_id
from worlds.api.authentication import act_of
from worlds.api.bodies import read_json
from worlds.api.endpoint import Endpoint
from worlds.api.openapi import Operation, documented
from worlds.api.shapes.worlds import GateShape, HoldShape, ReasonBody
from worlds.selectors import holds_of
from worlds.services.holds import freeze, pause, resume, unfreeze

VERBS = {"freeze": freeze, "unfreeze": unfreeze, "pause": pause, "resume": resume}


class GateVerbView(Endpoint):
    """Freeze, unfreeze, pause, resume."""

    @documented(
        Operation(
            "{last}World",
            "gate",
            "Freeze, unfreeze, pause or resume a world",
            {200: GateShape},
            body=ReasonBody,
            problems=(409,),
        )
    )
    def post(self, request: Request, world_id: str, verb: str) -> Response:
        """Freeze: exits only, the set is kept. Pause: no increase starts by itself. Twice is once."""
        check_world_id(world_id)
        act = act_of(request, reason=read_json(request, ReasonBody).reason)
        world = VERBS[verb](world_id=world_id, act=act)
        holds = [
            HoldShape(
                scope=hold.scope,
                kind=hold.kind,
                owner=hold.owner,
                level=hold.level,
                reason=hold.reason,
                placed_by=hold.placed_by,
                placed_at=hold.placed_at,
            )
            for hold in holds_of(world_id)
            if act.grants.knows_strategy(hold.scope.partition("|")[0]) or not hold.scope
        ]
        return Response(GateShape(world_id=world_id, paused=world.paused, holds=holds))
