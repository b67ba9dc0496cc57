"""Who calls: a machine with a bearer token, or on the routes of approvals a person with a session."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import User
from rest_framework.authentication import BaseAuthentication, SessionAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from qmtl_worlds.contracts.acts import Act
from worlds.middleware import request_id_of
from worlds.models import ApiToken
from worlds.services.authority import act_of_person, act_of_token
from worlds.services.compat import QMTL
from worlds.services.dev_open import Connection, dev_token, is_open_to
from worlds.services.tokens import find_token, note_use
from worlds.stores.clock import database_now

REALM = 'Bearer realm="qmtl-worlds"'


@dataclass(frozen=True, slots=True)
class Machine:
    """The caller behind a token."""

    token: ApiToken
    is_authenticated: bool = True


class BearerAuthentication(BaseAuthentication):
    """Take ``Authorization: Bearer <token>``; wrong, expired and revoked tokens look alike."""

    def authenticate(self, request: Request) -> tuple[Machine, ApiToken] | None:
        """Return the machine, or None where the request carries no bearer token.

        Raises:
            AuthenticationFailed: the token is not one that may be used.
        """
        header = get_authorization_header(request)
        if not header and is_open_to(_connection(request)):
            nobody = dev_token()
            return Machine(nobody), nobody
        scheme, _, text = header.partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        now = database_now()
        token = find_token(text=text.strip().decode("latin-1"), now=now)
        if token is None:
            raise AuthenticationFailed("The token is unknown, expired or revoked.")
        note_use(token=token, now=now)
        return Machine(token), token

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 - DRF's signature
        """Return what a 401 asks for."""
        return REALM


class PersonAuthentication(SessionAuthentication):
    """Take a person's session, with CSRF protection."""


class CallerRequired(BasePermission):
    """Let nobody in who did not say who they are; what they may do is the verbs' question."""

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 - DRF's signature
        """Tell whether somebody is there.

        Raises:
            NotAuthenticated: nobody is.
        """
        if not request.user.is_authenticated:
            raise NotAuthenticated("Send a token: Authorization: Bearer <token>.")
        return True


def act_of(request: Request, *, reason: str = "") -> Act:
    """Return the caller's act, now."""
    request_id = request_id_of(request.META)
    if isinstance(request.auth, ApiToken):
        return act_of_token(request.auth, reason=reason, request_id=request_id)
    if not isinstance(request.user, User):
        raise NotAuthenticated
    return act_of_person(request.user, reason=reason, request_id=request_id)


def speaks_qmtl(request: Request) -> bool:
    """Tell whether one of QMTL's clients calls, which is answered in its own shapes."""
    return isinstance(request.auth, ApiToken) and request.auth.role == QMTL


def is_machine(request: Request) -> bool:
    """Tell whether a token calls."""
    return isinstance(request.auth, ApiToken)


def _connection(request: Request) -> Connection:
    said = request.META
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Connection(said.get("REMOTE_ADDR", ""), said.get("SERVER_NAME", ""), headers)
