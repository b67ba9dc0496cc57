"""Somebody who calls the API: a token or a signed-in person."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from tests.worlds.factories import shell
from worlds.services.reauthentication import SESSION_KEY
from worlds.services.tokens import TokenTerms, create_token
from worlds.stores.clock import database_now


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.content)

    @property
    def code(self) -> str:
        """The code of a problem."""
        assert self.headers["content-type"] == "application/problem+json", self.content
        return str(self.json()["type"]).removeprefix("urn:qmtl-worlds:")


class Caller:
    """Sends requests with one credential."""

    def __init__(self, client: Client, headers: dict[str, str]) -> None:
        self.client = client
        self.headers = headers

    def get(self, path: str, **headers: str) -> Reply:
        return self.send("GET", path, b"", "", **headers)

    def post(self, path: str, body: object = None, **headers: str) -> Reply:
        return self.send("POST", path, json.dumps({} if body is None else body).encode(), **headers)

    def delete(self, path: str) -> Reply:
        return self.send("DELETE", path, b"", "")

    def send(
        self, method: str, path: str, body: bytes, content_type: str = "application/json", **headers: str
    ) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = self.client.generic(method, path, body, content_type=content_type, headers={**self.headers, **named})
        return Reply(response.status_code, {k.lower(): v for k, v in response.items()}, response.content)


def machine(
    role: str, *, worlds: tuple[str, ...] = (), strategies: tuple[str, ...] = (), provenance: str = ""
) -> Caller:
    """A token of a role."""
    terms = TokenTerms(provenance=provenance)
    made = create_token(role=role, name=role, worlds=worlds, strategies=strategies, terms=terms, act=shell())
    return Caller(Client(raise_request_exception=False), {"Authorization": f"Bearer {made.text}"})


def nobody() -> Caller:
    """Somebody without a credential."""
    return Caller(Client(raise_request_exception=False), {})


def session(user: User, *, recent: bool = True) -> Caller:
    """A signed-in person with a CSRF token, who has just entered the password or has not."""
    client = Client(raise_request_exception=False, enforce_csrf_checks=True)
    client.force_login(user)
    kept = client.session
    kept[SESSION_KEY] = database_now().isoformat()
    if not recent:
        del kept[SESSION_KEY]
    kept.save()
    secret = "a" * 32
    client.cookies["csrftoken"] = secret
    return Caller(client, {"X-CSRFToken": secret})
