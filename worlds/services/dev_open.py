"""``QW_DEV_OPEN``: on a developer's own machine, who calls without a token is one of QMTL's clients.

Only where both ends of the connection are on the loopback, nothing forwarded it, and no web page sent it: a browser
tells where a page comes from, and a name that was bound to this address anew is not one of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from django.conf import settings

from qmtl_worlds.contracts.acts import ANY_WORLD, Grants
from worlds.models import ApiToken
from worlds.services.authority import roles
from worlds.services.compat import QMTL
from worlds.services.tokens import LIFETIME
from worlds.stores.clock import database_now

DEV_TOKEN_ID: Final = "dev-open"  # noqa: S105 - the name of no token
_FORWARDED: Final = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
_HERE: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_NO_PAGE: Final = frozenset({"", "none", "same-origin"})


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a request came from and arrived, as the server saw it; header names are in lower case."""

    peer: str
    server: str
    headers: Mapping[str, str]


def is_open_to(connection: Connection) -> bool:
    """Tell whether the request may be answered without a token."""
    return settings.DEV_OPEN and _is_local(connection)


def dev_token() -> ApiToken:
    """Return what stands for a token in an act of somebody without one; it is stored nowhere."""
    now = database_now()
    return ApiToken(id=DEV_TOKEN_ID, role=QMTL, name=DEV_TOKEN_ID, created_at=now, expires_at=now + LIFETIME)


def dev_grants() -> Grants:
    """Return what somebody without a token may do."""
    return Grants({ANY_WORLD: roles().machines[QMTL]})


def _is_local(connection: Connection) -> bool:
    headers = connection.headers
    if any(name in headers for name in _FORWARDED) or "origin" in headers:
        return False
    if headers.get("sec-fetch-site", "") not in _NO_PAGE or _host_of(headers.get("host", "")) not in _HERE:
        return False
    return _is_loopback(connection.peer) and _is_loopback(connection.server)


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def _host_of(header: str) -> str:
    host, colon, port = header.rpartition(":")
    return (host if colon and port.isdigit() else header).lower()
