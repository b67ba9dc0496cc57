"""Routes of the register: bindings and the roster."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from qmtl_worlds.contracts.ids import check_object_id, check_world_id
from strategies.models import StrategyInstance
from strategies.selectors import get_roster
from strategies.services.bind import Binding
from worlds.api.authentication import act_of
from worlds.api.bodies import read_json
from worlds.api.endpoint import Endpoint, reader_of
from worlds.api.openapi import Operation, documented
from worlds.api.queries import read_query
from worlds.api.shapes.strategies import (
    BindAnswer,
    BindBody,
    BindingBody,
    BindingList,
    InstanceShape,
    RosterBody,
    RosterShape,
    SideQuery,
    UnbindAnswer,
)
from worlds.api.views.activation import override_shape
from worlds.selectors import get_world, list_instances
from worlds.services.binding import bind, choose_roster, unbind
from worlds.services.override_rows import Laid, laid_over


class BindingsView(Endpoint):
    """The strategies of a world."""

    @documented(Operation("listBindings", "strategies", "List bound strategies", {200: BindingList}))
    def get(self, request: Request, world_id: str) -> Response:
        """List the instances that are bound now, as far as the caller's token covers them."""
        grants = reader_of(request, world_id).grants
        get_world(world_id)
        instances = [one for one in list_instances(world_id) if grants.knows_strategy(one.strategy_id)]
        names = list(dict.fromkeys(one.strategy_id for one in instances))
        laid = {one.layer.key: one for one in laid_over(world_id)}
        shapes = [_instance(one, laid.get(one.key)) for one in instances]
        return Response(BindingList(strategies=names, instances=shapes))

    @documented(
        Operation("bindStrategies", "strategies", "Bind strategies", {200: BindAnswer}, body=BindBody, problems=(409,)),
    )
    def post(self, request: Request, world_id: str) -> Response:
        """Bind strategies as candidates; the same binding again changes nothing."""
        check_world_id(world_id)
        body = read_json(request, BindBody)
        bindings = [_binding(one) for one in body.strategies]
        result = bind(world_id=world_id, bindings=bindings, act=act_of(request, reason=body.reason))
        answer = BindAnswer(
            strategies=list(dict.fromkeys(binding.strategy_id for binding in bindings)),
            bound=[key.text for key in result.bound],
            rebound=[key.text for key in result.rebound],
            updated=[key.text for key in result.updated],
            unchanged=[key.text for key in result.unchanged],
        )
        return Response(answer)


class BindingView(Endpoint):
    """One strategy of a world."""

    @documented(
        Operation(
            "unbindStrategy",
            "strategies",
            "Withdraw a strategy",
            {200: UnbindAnswer},
            query=SideQuery,
            problems=(409,),
        )
    )
    def delete(self, request: Request, world_id: str, strategy_id: str) -> Response:
        """Withdraw a strategy, both sides unless one is named; its gate closes at once."""
        check_world_id(world_id)
        left = unbind(
            world_id=world_id,
            strategy_id=check_object_id(strategy_id, field="strategy_id"),
            side=read_query(request, SideQuery).side,
            act=act_of(request),
        )
        return Response(UnbindAnswer(withdrawn=[key.text for key in left]))


class RosterView(Endpoint):
    """The strategies that are wanted as candidates."""

    @documented(Operation("getRoster", "strategies", "Read the wanted roster", {200: RosterShape}))
    def get(self, request: Request, world_id: str) -> Response:
        """Read which strategies are wanted."""
        grants = reader_of(request, world_id).grants
        get_world(world_id)
        roster = get_roster(world_id)
        known = None if roster is None else [name for name in roster if grants.knows_strategy(name)]
        return Response(RosterShape(strategies=known))

    @documented(
        Operation(
            "setRoster",
            "strategies",
            "Replace the wanted roster",
            {200: RosterShape},
            body=RosterBody,
            problems=(409,),
        )
    )
    def post(self, request: Request, world_id: str) -> Response:
        """Replace the roster; who leaves it is withdrawn."""
        check_world_id(world_id)
        wanted = read_json(request, RosterBody).strategies
        change = choose_roster(world_id=world_id, strategies=wanted, act=act_of(request))
        return Response(RosterShape(strategies=list(change.strategies)))


def _binding(given: str | BindingBody) -> Binding:
    if isinstance(given, str):
        return Binding(given.strip())
    return Binding(given.strategy_id, given.side, given.params, given.sector, given.tags, given.interval_seconds)


def _instance(one: StrategyInstance, laid: Laid | None) -> InstanceShape:
    return InstanceShape(
        strategy_id=one.strategy_id,
        side=one.side,
        params=one.params,
        sector=one.sector,
        tags=one.tags,
        interval_seconds=one.interval_seconds,
        wanted=one.wanted,
        bound_at=one.bound_at,
        first_data=one.first_data,
        data_end=one.data_end,
        fresh_until=one.fresh_until,
        override=override_shape(laid) if laid else None,
    )
