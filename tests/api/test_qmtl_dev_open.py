"""``QW_DEV_OPEN``: nobody needs a token on his own machine, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from audit.models import AuditEvent
from worlds import checks
from worlds.services.dev_open import Connection, is_open_to

pytestmark = pytest.mark.django_db

LOCAL: dict[str, Any] = {"REMOTE_ADDR": "127.0.0.1", "SERVER_NAME": "127.0.0.1", "HTTP_HOST": "localhost:8000"}


@pytest.fixture
def is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "DEV_OPEN", True)


def created(**meta: str) -> int:
    body = '{"id": "w1", "name": "One"}'
    extra: dict[str, Any] = {**LOCAL, **meta}
    client = Client(raise_request_exception=False, **extra)
    return client.post("/worlds", body, content_type="application/json").status_code


@pytest.mark.usefixtures("is_open")
def test_caller_on_this_machine_is_a_qmtl_client() -> None:
    assert created() == 201

    listed = Client(**LOCAL).get("/worlds")

    assert [world["id"] for world in listed.json()] == ["w1"]
    assert AuditEvent.objects.get(kind="world.created").actor == "token:dev-open"


@pytest.mark.usefixtures("is_open")
@pytest.mark.parametrize(
    "meta",
    [
        {"REMOTE_ADDR": "192.0.2.7"},
        {"SERVER_NAME": "192.0.2.1"},
        {"REMOTE_ADDR": ""},
        {"HTTP_X_FORWARDED_FOR": "192.0.2.7"},
        {"HTTP_FORWARDED": "for=192.0.2.7"},
        {"HTTP_VIA": "1.1 proxy"},
        {"HTTP_ORIGIN": "http://localhost:8000"},
        {"HTTP_SEC_FETCH_SITE": "cross-site"},
        {"HTTP_AUTHORIZATION": "Bearer wrong"},
    ],
)
def test_whoever_may_come_from_elsewhere_needs_a_token(meta: dict[str, str]) -> None:
    assert created(**meta) == 401


@pytest.mark.usefixtures("is_open")
@pytest.mark.parametrize(
    ("host", "answer"),
    [("localhost", True), ("[::1]:8000", True), ("127.0.0.1:1", True), ("rebound.example:8000", False), ("", False)],
)
def test_name_that_was_bound_to_this_address_anew_is_not_ours(host: str, answer: bool) -> None:
    assert is_open_to(Connection("::1", "::1", {"host": host})) is answer


def test_without_the_setting_nobody_is_let_in() -> None:
    assert created() == 401


def test_deployment_is_refused_while_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    before = checks.check_dev_open()
    monkeypatch.setattr(settings, "DEV_OPEN", True)

    (error,) = checks.check_dev_open()

    assert before == []
    assert (error.id, error.is_serious()) == ("worlds.E001", True)
