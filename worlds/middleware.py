"""What every answer of the server carries: the id of its request, and what its pages may load."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import uuid4

import structlog
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from qmtl_worlds.contracts.ids import OBJECT_ID_PATTERN

Answer = Callable[[HttpRequest], HttpResponseBase]

CSP_HEADER: Final = "Content-Security-Policy"
_KEY: Final = "qmtl_worlds.request_id"
_ID = re.compile(OBJECT_ID_PATTERN)


class RequestIdMiddleware:
    """Name each request: by ``X-Request-ID``, else by ``X-Correlation-ID``, else anew.

    The id goes into log, audit and answer. Roles that a caller claims in headers are logged and never believed.
    """

    def __init__(self, get_response: Answer) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request under its id."""
        given = [request.headers.get(name, "") for name in ("X-Request-ID", "X-Correlation-ID")]
        request_id = next((text for text in given if _ID.fullmatch(text)), None) or uuid4().hex
        request.META[_KEY] = request_id
        with structlog.contextvars.bound_contextvars(request_id=request_id, **_claims(request)):
            response = self._get_response(request)
        response["X-Request-ID"] = request_id
        return response


class ContentSecurityPolicyMiddleware:
    """Send the policy of ``SECURE_CSP`` (the setting and the form that Django 6 has) unless a view sent its own."""

    def __init__(self, get_response: Answer) -> None:
        self._get_response = get_response
        self._policy = "; ".join(f"{name} {' '.join(sources)}" for name, sources in settings.SECURE_CSP.items())

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer with the policy."""
        response = self._get_response(request)
        response.headers.setdefault(CSP_HEADER, self._policy)
        return response


def request_id_of(meta: Mapping[str, Any]) -> str:
    """Return the id of the request with this ``META``."""
    return str(meta.get(_KEY, ""))


def _claims(request: HttpRequest) -> dict[str, str]:
    claimed = request.headers.get("X-World-Roles")
    return {"claimed_roles": claimed[:200]} if claimed else {}
