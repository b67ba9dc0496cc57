from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.http import HttpRequest
from django.test import RequestFactory

from qmtl_worlds.contracts import errors as contracts
from qmtl_worlds.contracts import limit_errors as limits
from tests.api.callers import Caller, machine, nobody
from tests.worlds.factories import make_world, shell
from worlds.api import authentication, errors
from worlds.api.views import worlds as world_views
from worlds.models import ApiToken
from worlds.services.tokens import revoke_token

pytestmark = pytest.mark.django_db


def kinds(kind: type[contracts.WorldsError] = contracts.WorldsError) -> list[type[contracts.WorldsError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in kinds(child))]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "no-such-route"),
        ("GET", "/worlds/", 404, "no-such-route"),
        ("GET", "/worlds/w1/nothing", 404, "no-such-route"),
        ("PATCH", "/worlds", 405, "method-not-allowed"),
        ("GET", "/worlds/W%201", 422, "input-invalid"),
        ("GET", "/worlds/w9", 404, "world-not-found"),
        ("GET", "/worlds?colour=red", 422, "input-invalid"),
        ("GET", "/worlds?limit=0", 422, "input-invalid"),
        ("GET", "/worlds?limit=1&limit=2", 422, "input-invalid"),
    ],
)
def test_refusal_is_a_problem_document_with_a_request_id(
    gateway: Caller, method: str, path: str, status: int, code: str
) -> None:
    reply = gateway.send(method, path, b"", "")

    assert (reply.status, reply.code) == (status, code)
    problem = reply.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert re.fullmatch(r"[0-9a-f]{32}", reply.headers["x-request-id"])


@pytest.mark.parametrize(
    ("header", "value", "echoed"),
    [("x_request_id", "req-1", True), ("x_correlation_id", "cor-1", True), ("x_request_id", "a b\t", False)],
)
def test_request_id_of_the_caller_is_kept_where_it_is_one(
    gateway: Caller, header: str, value: str, echoed: bool
) -> None:
    reply = gateway.get("/worlds", **{header: value})

    assert (reply.headers["x-request-id"] == value) is echoed


@pytest.mark.parametrize(
    "authorization", [None, "Basic YTpi", "Bearer", "Bearer x", "Bearer qw_runner_\x00", "Bearer é"]
)
def test_caller_without_a_good_token_is_asked_for_one(authorization: str | None) -> None:
    caller = nobody()
    if authorization is not None:
        caller.headers = {"Authorization": authorization}

    reply = caller.get("/worlds")

    assert (reply.status, reply.code) == (401, "unauthenticated")
    assert reply.headers["www-authenticate"].startswith("Bearer")


def test_token_is_worthless_from_the_moment_it_is_revoked_or_expires() -> None:
    revoked, expired = machine("gateway"), machine("runner")
    assert (revoked.get("/worlds").status, expired.get("/worlds").status) == (200, 200)

    revoke_token(token_id=ApiToken.objects.get(role="gateway").id, act=shell())
    ApiToken.objects.filter(role="runner").update(expires_at=shell().now - timedelta(seconds=1))

    assert (revoked.get("/worlds").code, expired.get("/worlds").code) == ("unauthenticated", "unauthenticated")


def test_use_of_a_token_is_remembered(gateway: Caller) -> None:
    gateway.get("/worlds")

    assert ApiToken.objects.get().last_used_at is not None


def test_database_that_is_away_is_a_503_that_says_when_to_come_back(
    gateway: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(**_: object) -> None:
        raise OperationalError("no route to host db.internal")

    monkeypatch.setattr(world_views, "list_worlds", away)

    reply = gateway.get("/worlds")

    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "store-unavailable", "1")
    assert b"db.internal" not in reply.content


def test_database_that_is_away_is_told_before_the_caller_is_known(
    gateway: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise OperationalError

    monkeypatch.setattr(authentication, "database_now", away)

    assert gateway.get("/worlds").code == "store-unavailable"


def test_fault_of_ours_tells_nothing_but_that(gateway: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(world_views, "list_worlds", broken)

    reply = gateway.get("/worlds")

    assert (reply.status, reply.code) == (500, "internal-error")
    assert b"secret" not in reply.content


def test_admin_keeps_its_own_pages_of_errors() -> None:
    reply = nobody().get("/admin/nowhere/", accept="text/html")

    assert reply.headers["content-type"] != "application/problem+json"


@pytest.mark.parametrize("path", ["/worlds", "/admin/", "/console/"])
def test_unreadable_request_is_answered_in_the_form_of_its_place(path: str) -> None:
    request: HttpRequest = RequestFactory().get(path)

    answered = errors.bad_request(request, ValueError())

    assert answered.status_code == 400
    assert (answered.headers["Content-Type"] == "application/problem+json") is (path == "/worlds")


@pytest.mark.parametrize("kind", kinds())
def test_every_error_has_one_status(kind: type[contracts.WorldsError]) -> None:
    expected = {
        contracts.EtagMismatchError: 412,
        limits.RequestTooSlowError: 408,
        limits.BodyTooLargeError: 413,
        limits.RateLimitedError: 429,
        contracts.NotFoundError: 404,
        contracts.InvalidError: 422,
        contracts.ConflictError: 409,
        contracts.NotAllowedError: 403,
        contracts.UnavailableError: 503,
        contracts.WorldsError: 500,
    }

    assert errors.status_of(kind) == next(status for parent, status in expected.items() if issubclass(kind, parent))


def test_facts_of_an_error_never_hide_the_members_of_a_problem() -> None:
    error = contracts.ConflictError("busy", status=200, type="x", holder_run_id="r1")

    problem = errors.problem_of(error)

    assert problem is not None
    assert problem.to_json() == {
        "type": "urn:qmtl-worlds:conflict",
        "title": "Conflict",
        "status": 409,
        "detail": "busy",
        "holder_run_id": "r1",
    }


def test_pages_and_answers_carry_a_content_security_policy(gateway: Caller) -> None:
    make_world()

    for reply in (gateway.get("/worlds/w1"), nobody().get("/admin/login/")):
        assert "script-src 'self'" in reply.headers["content-security-policy"]
        assert "unsafe" not in reply.headers["content-security-policy"]


def test_claimed_roles_are_worth_nothing(gateway: Caller) -> None:
    make_world()

    reply = machine("submitter").post("/worlds/w1/freeze", x_world_roles="admin,risk", x_caller_role="admin")

    assert reply.code == "permission-denied"
