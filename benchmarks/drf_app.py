"""The usual way to answer an activation: a DRF view, the token in the database, the activation in a Redis hash."""

from __future__ import annotations

import json
from functools import lru_cache

import redis
from django.conf import settings
from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response

from benchmarks.servers import PLAIN_KEY
from worlds.api.endpoint import Endpoint, reader_of


class PlainActivationView(Endpoint):
    """One instance's activation."""

    def get(self, request: Request, world_id: str) -> Response:
        """Look the token up, then the hash."""
        reader_of(request, world_id)
        stored = _client().hget(PLAIN_KEY, f"{request.query_params['strategy_id']}|long")
        body = json.loads(stored) if isinstance(stored, bytes) else {"active": False}
        return Response(body, headers={"ETag": '"x"'})


@lru_cache(maxsize=1)
def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL)


urlpatterns = [path("worlds/<str:world_id>/activation", PlainActivationView.as_view())]
