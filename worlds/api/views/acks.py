"""Routes of Runners: what they have heard, and what is flat."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from qmtl_worlds.contracts.ids import check_world_id
from worlds.api.authentication import act_of
from worlds.api.bodies import read_json
from worlds.api.endpoint import Endpoint
from worlds.api.openapi import Operation, documented
from worlds.api.shapes.overrides import AckAnswer, AckBody
from worlds.api.views.apply import instance_key
from worlds.services.flat import Acknowledgement, acknowledge


class AcksView(Endpoint):
    """The word of a Runner."""

    @documented(
        Operation("acknowledge", "activation", "Acknowledge what was heard", {200: AckAnswer}, body=AckBody),
    )
    def post(self, request: Request, world_id: str) -> Response:
        """Say how far a Runner has heard; `flat` ends the waits for positions that its policy asks to be closed.

        A word from before the switch that started a wait does not end it: read the activation first.
        """
        check_world_id(world_id)
        body = read_json(request, AckBody)
        said = Acknowledgement(
            client_id=body.client_id,
            sequence=body.sequence,
            incarnation=body.incarnation,
            hold_sequence=body.hold_sequence,
            flat=tuple(map(instance_key, body.flat)),
        )
        done = acknowledge(world_id=world_id, said=said, act=act_of(request))
        return Response(
            AckAnswer(
                world_id=world_id,
                position=done.position.text,
                released=[key.text for key in done.released],
                waiting=[key.text for key in done.waiting],
            )
        )
