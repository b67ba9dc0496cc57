"""Routes of activations: what may trade now."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from msgspec import to_builtins
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.response import Response

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.digests import digest
from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.ids import InstanceKey, check_world_id
from qmtl_worlds.lifecycle.gate import world_gate
from worlds.api.authentication import BearerAuthentication, act_of
from worlds.api.bodies import read_json
from worlds.api.endpoint import ApprovalEndpoint, Endpoint, reader_of
from worlds.api.openapi import Operation, documented
from worlds.api.queries import plausible_time, read_query
from worlds.api.shapes.activation import (
    ActivationQuery,
    ActivationShape,
    OverrideShape,
    StateHashShape,
    WholeSetShape,
)
from worlds.api.shapes.overrides import OverriddenShape, OverrideBody
from worlds.api.views.apply import if_match_of
from worlds.api.views.reopenings import reopening_shape
from worlds.selectors import get_world
from worlds.services.activation import activation_of, activations_of
from worlds.services.override_rows import Laid, laid_over
from worlds.services.overrides import OverrideRequest, set_override

LEASE = "activation.lease"


class ActivationView(ApprovalEndpoint):
    """What one instance, or every one, may do now, and what operators lay over that."""

    def get_authenticators(self) -> list[BaseAuthentication]:
        """Let persons write here too; they read in the admin."""
        if getattr(self.request, "method", "") == "GET":  # the document is made without a request
            return [BearerAuthentication()]
        return super().get_authenticators()

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

    @documented(
        Operation(
            "overrideActivation",
            "activation",
            "Override an instance",
            {200: OverriddenShape, 202: OverriddenShape},
            body=OverrideBody,
            headers={"If-Match": "the `etag` of an activation, or its beginning; 412 where the world has moved on"},
            problems=(409, 412),
            by_session=True,
        )
    )
    def put(self, request: Request, world_id: str) -> Response:
        """Lay a limit over one instance of the applied set; no apply, rollback or evaluation undoes it.

        `active: false` takes it out, `weight` caps it, `freeze` and `drain` let exits only through. That is done at
        once. What loosens an override waits for a second person, which 202 says. Nothing is ever given that the applied
        set does not give.
        """
        check_world_id(world_id)
        body = read_json(request, OverrideBody)
        act = act_of(request, reason=body.reason)
        key = InstanceKey(body.strategy_id, body.side)
        asked = OverrideRequest(
            key=key,
            active=body.active,
            weight=body.weight,
            freeze=body.freeze,
            drain=body.drain,
            expires_at=_expiry(body, act),
            if_match=if_match_of(request),
        )
        done = set_override(world_id=world_id, request=asked, act=act)
        envelope = activation_of(world_id=world_id, key=key).envelope
        laid = {one.layer.key: one for one in laid_over(world_id)}
        answer = {
            **envelope.to_json(),
            "override": override_shape(laid[key]) if key in laid else None,
            "reopening": reopening_shape(done.waits) if done.waits else None,
        }
        return Response(answer, status=202 if done.waits else 200, headers={"ETag": f'"{envelope.etag}"'})


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


def override_shape(laid: Laid) -> OverrideShape:
    """Return what lies over an instance as callers see it."""
    row, layer = laid.row, laid.layer
    return OverrideShape(
        strategy_id=layer.key.strategy_id,
        side=layer.key.side.value,
        cap=layer.cap,
        freeze=layer.freeze,
        drain=layer.drain,
        reason=row.reason,
        set_by=row.set_by,
        set_at=row.set_at,
        expires_at=layer.expires_at,
        stays_closed=row.stays_closed,
    )


def _whole(request: Request, act: Act, world_id: str) -> Response:
    whole, laid = activations_of(world_id=world_id), laid_over(world_id)
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
        "overrides": [override_shape(one) for one in laid if act.grants.knows_strategy(one.layer.key.strategy_id)],
    }
    tag = f"{whole.world.position.text}-{digest(to_builtins(body)).removeprefix('sha256:')[:16]}"
    return _answer(request, {**body, "etag": tag}, tag, 0)


def _expiry(body: OverrideBody, act: Act) -> datetime | None:
    if body.ttl_seconds is None:
        return plausible_time(body.expires_at, field="expires_at")
    if body.expires_at is not None:
        raise InputInvalidError(field="ttl_seconds", reason="or expires_at may be given, and one of them only")
    return act.now + timedelta(seconds=body.ttl_seconds)


def _answer(request: Request, body: dict[str, Any], tag: str, lease_ms: int) -> Response:
    headers = {"ETag": f'"{tag}"', "Lease-Ms": str(lease_ms), "Cache-Control": "no-store"}
    if f'"{tag}"' in request.headers.get("If-None-Match", ""):
        return Response(None, status=304, headers=headers)
    return Response(body, headers=headers)
