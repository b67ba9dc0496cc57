"""Routes that ask nobody who they are: is the process alive, is what it needs there."""

from __future__ import annotations

from http import HTTPStatus

from rest_framework.request import Request
from rest_framework.response import Response

from qmtl_worlds import __version__
from worlds.api.endpoint import OpenEndpoint
from worlds.api.openapi import Operation, documented
from worlds.api.shapes.health import HealthShape, PartShape
from worlds.services.heartbeats import Part, all_parts, database_part


class LiveView(OpenEndpoint):
    """Whether the process runs."""

    @documented(Operation("livez", "health", "Is the process alive?", {200: HealthShape}, public=True))
    def get(self, request: Request) -> Response:  # noqa: ARG002 - Django's signature
        """Answer, asking nobody else."""
        return Response(HealthShape(status="ok", version=__version__, parts={}))


class ReadyView(OpenEndpoint):
    """Whether the process can serve."""

    @documented(
        Operation("readyz", "health", "Can it serve?", {200: HealthShape, 503: HealthShape}, public=True),
    )
    def get(self, request: Request) -> Response:  # noqa: ARG002 - Django's signature
        """Answer 200 where the database answers."""
        return _answer({"database": database_part()})


class HealthView(OpenEndpoint):
    """Whether everything is there."""

    @documented(
        Operation("health", "health", "Is everything there?", {200: HealthShape, 503: HealthShape}, public=True),
    )
    def get(self, request: Request) -> Response:  # noqa: ARG002 - Django's signature
        """Answer 200 where database, store, workers and scheduler are alive."""
        return _answer(all_parts())


def _answer(parts: dict[str, Part]) -> Response:
    healthy = all(part.ok for part in parts.values())
    shapes = {name: PartShape(ok=part.ok, detail=part.detail, beat_at=part.beat_at) for name, part in parts.items()}
    shape = HealthShape(status="ok" if healthy else "unavailable", version=__version__, parts=shapes)
    return Response(shape, status=HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE)
