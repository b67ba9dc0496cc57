"""The one table from what went wrong to an HTTP answer, as application/problem+json (RFC 9457)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response

from qmtl_worlds.contracts.errors import (
    ConflictError,
    EtagMismatchError,
    InvalidError,
    NotAllowedError,
    NotFoundError,
    PolicyInvalidError,
    StoreUnavailableError,
    UnavailableError,
    WorldsError,
)
from qmtl_worlds.contracts.limit_errors import BodyTooLargeError, RateLimitedError, RequestTooSlowError

PROBLEM_TYPE: Final = "application/problem+json"
CODE_PREFIX: Final = "urn:qmtl-worlds:"
RETRY_SECONDS: Final = 1

STATUSES: Final[Mapping[type[WorldsError], HTTPStatus]] = {
    NotFoundError: HTTPStatus.NOT_FOUND,
    InvalidError: HTTPStatus.UNPROCESSABLE_ENTITY,
    BodyTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    RequestTooSlowError: HTTPStatus.REQUEST_TIMEOUT,
    ConflictError: HTTPStatus.CONFLICT,
    EtagMismatchError: HTTPStatus.PRECONDITION_FAILED,
    NotAllowedError: HTTPStatus.FORBIDDEN,
    UnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    RateLimitedError: HTTPStatus.TOO_MANY_REQUESTS,
    WorldsError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The nearest class above an error decides."""

HTTP_CODES: Final[Mapping[int, str]] = {
    HTTPStatus.BAD_REQUEST: "malformed-request",
    HTTPStatus.UNAUTHORIZED: "unauthenticated",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "no-such-route",
    HTTPStatus.METHOD_NOT_ALLOWED: "method-not-allowed",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "unsupported-media-type",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal-error",
}
"""Codes of what goes wrong before or outside our verbs."""

_OF_DJANGO: Final[tuple[tuple[tuple[type[Exception], ...], HTTPStatus, str], ...]] = (
    ((Http404,), HTTPStatus.NOT_FOUND, "There is no such address."),
    ((PermissionDenied,), HTTPStatus.FORBIDDEN, "This is not allowed."),
    ((SuspiciousOperation, UnreadablePostError), HTTPStatus.BAD_REQUEST, "The request could not be read."),
)
_PAGES: Final = ("/admin/", "/console/")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """What the caller is told; ``facts`` are what it can act on."""

    status: int
    code: str
    title: str
    detail: str
    facts: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return the problem document; facts never hide its own members."""
        document = {
            "type": f"{CODE_PREFIX}{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        return {**self.facts, **document}


def status_of(kind: type[WorldsError]) -> HTTPStatus:
    """Return the status that errors of this class are answered with."""
    return next(STATUSES[parent] for parent in kind.__mro__ if parent in STATUSES)


def answer_problem(error: Exception, context: Mapping[str, Any]) -> Response | None:  # noqa: ARG001 - DRF's signature
    """Turn an error into an answer; None, for Django's own 500, where nobody foresaw it."""
    problem = problem_of(error)
    if problem is None:
        return None
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("request_failed", code=problem.code, detail=problem.detail, cause=repr(error.__cause__))
    return Response(
        problem.to_json(), status=problem.status, headers=dict(_headers(error, problem)), content_type=PROBLEM_TYPE
    )


def problem_of(error: Exception) -> Problem | None:
    """Return what to tell the caller about an error, None where it is a fault of ours."""
    match error:
        case WorldsError():
            return _of_ours(error)
        case OperationalError() | InterfaceError():
            return _of_ours(StoreUnavailableError("The database"))
        case exceptions.APIException():
            return of_status(error.status_code, _detail(error))
        case _:
            return next(
                (of_status(status, words) for kinds, status, words in _OF_DJANGO if isinstance(error, kinds)), None
            )


def of_status(status: int, detail: str) -> Problem:
    """Return the problem of a status that comes from HTTP itself."""
    code = HTTP_CODES.get(status, "refused")
    return Problem(status=int(status), code=code, title=HTTPStatus(status).phrase, detail=detail)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer what Django refuses before a view is found."""
    if _is_page(request):
        return defaults.bad_request(request, exception)
    return _plain(HTTPStatus.BAD_REQUEST, "The request could not be read.")


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer an address that leads nowhere."""
    if _is_page(request):
        return defaults.page_not_found(request, exception)
    return _plain(HTTPStatus.NOT_FOUND, "There is no such address.")


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer after a fault of ours; the log has it, under the request id."""
    if _is_page(request):
        return defaults.server_error(request)
    return _plain(HTTPStatus.INTERNAL_SERVER_ERROR, "Something failed here; the log has it under the request id.")


def _of_ours(error: WorldsError) -> Problem:
    facts = dict(error.facts)
    if isinstance(error, PolicyInvalidError):
        facts["faults"] = [asdict(fault) for fault in error.faults]
    return Problem(status_of(type(error)), error.code, error.title, error.detail, facts)


def _headers(error: Exception, problem: Problem) -> Iterator[tuple[str, str]]:
    if isinstance(error, exceptions.APIException) and (wanted := getattr(error, "auth_header", None)):
        yield "WWW-Authenticate", wanted
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        yield "Retry-After", str(RETRY_SECONDS)


def _detail(error: exceptions.APIException) -> str:
    return str(error.detail)


def _is_page(request: HttpRequest) -> bool:
    return request.path.startswith(_PAGES)


def _plain(status: HTTPStatus, detail: str) -> HttpResponse:
    body = msgspec.json.encode(of_status(status, detail).to_json())
    return HttpResponse(body, status=status, content_type=PROBLEM_TYPE)
