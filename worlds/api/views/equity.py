"""The route that takes in what the portfolio of a world is worth."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from qmtl_worlds.contracts.ids import check_world_id
from worlds.api.authentication import act_of
from worlds.api.bodies import read_json
from worlds.api.endpoint import Endpoint
from worlds.api.openapi import Operation, documented
from worlds.api.queries import plausible_time
from worlds.api.shapes.risk import EquityAnswer, EquityBody
from worlds.api.views.circuit import circuit_shape
from worlds.services.equity import Snapshot, push_equity


class EquityView(Endpoint):
    """The equity of a world."""

    @documented(
        Operation("pushEquity", "risk", "Send equity snapshots", {200: EquityAnswer}, body=EquityBody, problems=(409,)),
    )
    def post(self, request: Request, world_id: str) -> Response:
        """Send what the portfolio was worth, oldest first; a breach of the policy's limits halts the world at once.

        The same snapshots again change nothing; one that contradicts a stored one is a conflict. Tokens that are
        limited to some strategies may not send any.
        """
        check_world_id(world_id)
        body = read_json(request, EquityBody)
        snapshots = [
            Snapshot(plausible_time(one.ts, field="ts") or one.ts, one.equity, one.leverage, one.var_95)
            for one in body.snapshots
        ]
        pushed = push_equity(world_id=world_id, snapshots=snapshots, act=act_of(request))
        circuit = circuit_shape(pushed.state.world, pushed.state)
        return Response(
            EquityAnswer(world_id=world_id, stored=pushed.stored, unchanged=pushed.unchanged, circuit=circuit)
        )
