"""Routes of the risk circuit: how it stands, and the request to reset it."""

from __future__ import annotations

from dataclasses import asdict

from rest_framework.request import Request
from rest_framework.response import Response

from qmtl_worlds.contracts.errors import PermissionDeniedError
from qmtl_worlds.contracts.ids import check_world_id
from worlds.api.authentication import act_of, is_machine
from worlds.api.bodies import read_json
from worlds.api.endpoint import ApprovalEndpoint, Endpoint, reader_of
from worlds.api.openapi import Operation, documented
from worlds.api.shapes.gate import ReopeningShape
from worlds.api.shapes.risk import CircuitShape, LimitsShape, ResetBody
from worlds.api.views.reopenings import reopening_shape
from worlds.models import CircuitState, World
from worlds.selectors import get_world
from worlds.services.circuit_reset import request_reset
from worlds.services.circuits import find_circuit, limits_of
from worlds.services.reauthentication import reauthenticated_at


class CircuitView(Endpoint):
    """The risk circuit of a world."""

    @documented(Operation("getCircuit", "risk", "Read the risk circuit", {200: CircuitShape}))
    def get(self, request: Request, world_id: str) -> Response:
        """Read limits, high-water mark, the last figures, and the incident that is latched."""
        act = reader_of(request, world_id)
        if act.grants.strategies is not None:
            raise PermissionDeniedError(act.actor, permission="world.read of every strategy")
        world = get_world(world_id)
        return Response(circuit_shape(world, find_circuit(world_id=world_id) or CircuitState(world=world)))


class CircuitResetView(ApprovalEndpoint):
    """The request to reset the circuit."""

    @documented(
        Operation(
            "resetCircuit",
            "risk",
            "Ask that the circuit be reset",
            {200: ReopeningShape},
            body=ResetBody,
            problems=(409,),
            by_session=True,
        )
    )
    def post(self, request: Request, world_id: str) -> Response:
        """Ask that the present incident be over; another person grants it under `reopenings`.

        In a world that is not live, a risk person who has just entered the password grants it by asking.
        """
        check_world_id(world_id)
        body = read_json(request, ResetBody)
        reopening = request_reset(
            world_id=world_id,
            high_water_mark=body.high_water_mark,
            reauthenticated_at=None if is_machine(request) else reauthenticated_at(request.session),
            act=act_of(request, reason=body.reason),
        )
        return Response(reopening_shape(reopening))


def circuit_shape(world: World, state: CircuitState) -> CircuitShape:
    """Return the circuit as callers see it."""
    limits = limits_of(world)
    return CircuitShape(
        tripped=bool(state.incident),
        incident=state.incident,
        tripped_at=state.tripped_at,
        limits=LimitsShape(**asdict(limits)) if limits else None,
        high_water=state.high_water,
        high_water_at=state.high_water_at,
        drawdown=_first(state.modelled.get("drawdown"), state.last_sample.get("drawdown")),
        var_95=_first(state.last_sample.get("var_95"), state.modelled.get("var_95")),
        leverage=_first(state.last_sample.get("leverage"), state.modelled.get("leverage")),
        last_ts=state.last_ts,
        fresh_until=state.fresh_until,
    )


def _first(one: float | None, other: float | None) -> float | None:
    """Return the figure that counts, else the other: a drawdown goes on from the snapshot, the rest is as it says."""
    return other if one is None else one
