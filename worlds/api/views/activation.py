"""Routes of activations: what may trade now."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.digests import digest
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.lifecycle.gate import world_gate
from worlds.api.endpoint import Endpoint, reader_of
from worlds.api.openapi import Operation, documented
from worlds.api.queries import read_query
from worlds.api.shapes.activation import ActivationQuery, ActivationShape, StateHashShape, WholeSetShape
from worlds.selectors import get_world
from worlds.services.activation import activation_of, activations_of

LEASE = "activation.lease"


class ActivationView(Endpoint):
    """What one instance, or every one, may do now."""

    @documented(
        Operation(
            "getActivation",
            "activation",
            "Read activations",
            {200: (ActivationShape, WholeSetShape), 304: None},
            query=ActivationQuery,
            headers={"If-None-Match": "the `ETag` that the caller has"},
        )
    )
    def get(self, request: Request, world_id: str) -> Response:
        """Read whether an instance may trade; closed and unknown are answers too, with the reason.

        The header `Lease-Ms` says for how long an answer may be acted on, counted from when the question was sent;
        it is 0 for tokens that are no Runner's, and for the whole set.
        """
        act = reader_of(request, world_id)
        query = read_query(request, ActivationQuery)
        if query.strategy_id is None:
            return _whole(request, act, world_id)
        visible = act.grants.knows_strategy(query.strategy_id)
        answered = activation_of(world_id=world_id, key=InstanceKey(query.strategy_id, query.side), visible=visible)
        lease = answered.lease_ms if act.grants.allows(LEASE, world_id) else 0
        return _answer(request, answered.envelope.to_json(), answered.envelope.etag, lease)


class StateHashView(Endpoint):
    """The digest of a world's state."""

    @documented(Operation("{before}StateHash", "activation", "Read the state hash", {200: StateHashShape}))
    def get(self, request: Request, world_id: str, subject: str) -> Response:
        """Read the digest of what is committed, or of the policy in force."""
        reader_of(request, world_id)
        if subject == "policy":
            policy = get_world(world_id).policy
            return Response(StateHashShape(state_hash=policy.checksum if policy else digest(None)))
        return Response(StateHashShape(state_hash=activations_of(world_id=world_id).world.state_hash))


def _whole(request: Request, act: Act, world_id: str) -> Response:
    whole = activations_of(world_id=world_id)
    seen = [one for one in whole.envelopes if act.grants.knows_strategy(one.strategy_id)]
    gate = world_gate(whole.world)
    body: dict[str, Any] = {
        "world_id": world_id,
        "generation": whole.world.generation,
        "sequence": whole.world.position.sequence,
        "gate": gate.level.value,
        "reason": gate.reason.value,
        "state_hash": whole.world.state_hash,
        "entries": [one.to_json() for one in seen],
    }
    tag = f"{whole.world.position.text}-{digest(body).removeprefix('sha256:')[:16]}"
    return _answer(request, {**body, "etag": tag}, tag, 0)


def _answer(request: Request, body: dict[str, Any], tag: str, lease_ms: int) -> Response:
    headers = {"ETag": f'"{tag}"', "Lease-Ms": str(lease_ms), "Cache-Control": "no-store"}
    if f'"{tag}"' in request.headers.get("If-None-Match", ""):
        return Response(None, status=304, headers=headers)
    return Response(body, headers=headers)
