"""What all routes of the API share: how they authenticate, render and refuse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

import msgspec
from rest_framework.authentication import BaseAuthentication
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from qmtl_worlds.contracts.acts import ANY_WORLD, READ, Act
from qmtl_worlds.contracts.errors import StrategyNotFoundError
from qmtl_worlds.contracts.ids import check_world_id
from worlds.api.authentication import BearerAuthentication, CallerRequired, PersonAuthentication, act_of
from worlds.api.errors import answer_problem
from worlds.api.openapi import ApiSchema


class JsonRenderer(BaseRenderer):
    """Writes shapes and plain values as JSON; times are ISO-8601 UTC with ``Z``."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,  # noqa: ARG002 - DRF's signature
        renderer_context: Mapping[str, Any] | None = None,  # noqa: ARG002 - DRF's signature
    ) -> bytes:
        """Encode the data; None is no body."""
        return b"" if data is None else msgspec.json.encode(data)


class NoParser(BaseParser):
    """Leaves the body alone: ``worlds.api.bodies`` reads it, and the CSRF token comes in a header."""

    media_type = "*/*"

    def parse(
        self,
        stream: IO[Any],  # noqa: ARG002 - DRF's signature
        media_type: str | None = None,  # noqa: ARG002 - DRF's signature
        parser_context: Mapping[str, Any] | None = None,  # noqa: ARG002 - DRF's signature
    ) -> dict[str, Any]:
        """Return nothing."""
        return {}


class OneForm(BaseContentNegotiation):
    """Answer in JSON whatever the caller would like better; routes with a second form choose by themselves."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:  # noqa: ARG002
        """Choose the only one."""
        return next(iter(parsers))

    def select_renderer(
        self,
        request: Request,  # noqa: ARG002
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,  # noqa: ARG002
    ) -> tuple[BaseRenderer, str]:
        """Choose the only one."""
        only = next(iter(renderers))
        return only, only.media_type


class Endpoint(APIView):
    """A route for machines."""

    authentication_classes: Sequence[type[BaseAuthentication]] = (BearerAuthentication,)
    permission_classes: Sequence[type[BasePermission]] = (CallerRequired,)
    renderer_classes = (JsonRenderer,)
    parser_classes = (NoParser,)
    throttle_classes = ()
    content_negotiation_class = OneForm
    schema = ApiSchema()

    def get_exception_handler(self) -> Any:
        """Return the one place that answers errors."""
        return answer_problem

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """Keep answers out of caches unless a route says otherwise."""
        finished = super().finalize_response(request, response, *args, **kwargs)
        finished.headers.setdefault("Cache-Control", "no-store")
        return finished


class ApprovalEndpoint(Endpoint):
    """A route that persons with a session may use too."""

    authentication_classes = (BearerAuthentication, PersonAuthentication)


class OpenEndpoint(Endpoint):
    """A route that asks nobody who they are."""

    authentication_classes = ()
    permission_classes = ()


def reader_of(request: Request, world_id: str) -> Act:
    """Return the act of somebody who may read the world.

    Raises:
        InputInvalidError: the id is malformed.
        WorldNotFoundError: there is no such world for this caller.
    """
    act = act_of(request)
    act.require(READ, check_world_id(world_id))
    return act


def visible_worlds(act: Act) -> frozenset[str] | None:
    """Return the ids of the worlds that the caller may read, None for all."""
    if act.grants.allows(READ, ANY_WORLD):
        return None
    return frozenset(world_id for world_id in act.grants.by_world if act.grants.allows(READ, world_id))


def require_strategy(act: Act, world_id: str, strategy_id: str) -> None:
    """Return if the caller may learn of the strategy.

    Raises:
        StrategyNotFoundError: its token is limited to others.
    """
    if not act.grants.knows_strategy(strategy_id):
        raise StrategyNotFoundError(world_id, strategy_id)
