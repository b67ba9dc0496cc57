"""Routes of people's acts on the gates: each can be taken back by its own opposite only."""

from __future__ import annotations

from typing import Final, Literal

from rest_framework.request import Request
from rest_framework.response import Response

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.ids import InstanceKey, check_world_id
from worlds.api.authentication import act_of
from worlds.api.bodies import read_json
from worlds.api.endpoint import ApprovalEndpoint
from worlds.api.openapi import Operation, documented
from worlds.api.queries import plausible_time
from worlds.api.shapes.apply import InstanceBody
from worlds.api.shapes.gate import GateBody, KillAnswer, KillBody
from worlds.api.shapes.worlds import GateShape, HoldShape, ReasonBody
from worlds.models import World
from worlds.selectors import holds_of
from worlds.services.gate_levels import GateSetting, set_gate
from worlds.services.holds import freeze, pause, resume, unfreeze
from worlds.services.kills import kill
from worlds.services.suspension import suspend_world, take_up_world

VERBS: Final = {
    "freeze": freeze,
    "unfreeze": unfreeze,
    "pause": pause,
    "resume": resume,
    "suspend": suspend_world,
    "unsuspend": take_up_world,
}


class GateVerbView(ApprovalEndpoint):
    """Freeze, unfreeze, pause, resume, suspend, unsuspend."""

    @documented(
        Operation(
            "{last}World",
            "gate",
            "Freeze, pause or suspend a world, or take that back",
            {200: GateShape},
            body=ReasonBody,
            problems=(409,),
            by_session=True,
        )
    )
    def post(self, request: Request, world_id: str, verb: str) -> Response:
        """Freeze: exits only, the set is kept. Pause: no increase starts by itself. Suspend: nothing. Twice is once."""
        check_world_id(world_id)
        act = act_of(request, reason=read_json(request, ReasonBody).reason)
        return _answer(VERBS[verb](world_id=world_id, act=act), act)


class GateView(ApprovalEndpoint):
    """The level of a gate."""

    @documented(
        Operation(
            "setGate",
            "gate",
            "Set the level of a gate",
            {200: GateShape},
            body=GateBody,
            problems=(409,),
            by_session=True,
        )
    )
    def post(self, request: Request, world_id: str) -> Response:
        """Set how far the world, or one instance, is open; `open` lifts what was set here, and nothing else.

        `reduce_only` on what is killed lets orders through that reduce risk (risk only); the kill stays.
        """
        check_world_id(world_id)
        body = read_json(request, GateBody)
        act = act_of(request, reason=body.reason)
        setting = GateSetting(body.level, scope_key(body.scope), plausible_time(body.expires_at, field="expires_at"))
        return _answer(set_gate(world_id=world_id, setting=setting, act=act), act)


class KillView(ApprovalEndpoint):
    """The kill switch."""

    @documented(
        Operation(
            "killWorld",
            "gate",
            "Kill a world or an instance",
            {200: KillAnswer},
            body=KillBody,
            problems=(409,),
            by_session=True,
        )
    )
    def post(self, request: Request, world_id: str) -> Response:
        """Close every gate at once, for exits too, and forbid promotions until the kill is lifted.

        One person is enough and nothing is waited for. An instance leaves the active set by the next reduce run.
        """
        check_world_id(world_id)
        body = read_json(request, KillBody)
        key = scope_key(body.scope)
        killed = kill(world_id=world_id, scope=key.text if key else "", act=act_of(request, reason=body.reason))
        return Response(KillAnswer(world_id=killed.world_id, scope=killed.scope, recorded=killed.recorded))


def scope_key(scope: Literal["world"] | InstanceBody) -> InstanceKey | None:
    """Return the instance that is meant, None for the whole world."""
    return InstanceKey(scope.strategy_id, scope.side) if isinstance(scope, InstanceBody) else None


def _answer(world: World, act: Act) -> Response:
    holds = [
        HoldShape(
            scope=hold.scope,
            kind=hold.kind,
            owner=hold.owner,
            level=hold.level,
            reason=hold.reason,
            placed_by=hold.placed_by,
            placed_at=hold.placed_at,
            expires_at=hold.expires_at,
        )
        for hold in holds_of(world.id)
        if act.grants.knows_strategy(hold.scope.partition("|")[0]) or not hold.scope
    ]
    return Response(GateShape(world_id=world.id, state=world.state, paused=world.paused, holds=holds))
