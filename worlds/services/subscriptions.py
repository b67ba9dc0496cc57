"""Tickets that open a stream: short-lived, signed, and worth no more than the token that asked for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.core import signing

STREAM_PATH: Final = "/ws/evt"
LIFETIME: Final = timedelta(minutes=5)
_SALT: Final = "qmtl_worlds.subscriptions"


@dataclass(frozen=True, slots=True)
class Ticket:
    """Whose stream it is, of which strategy ("" for none) of which world; ``token_id`` names, and never shows."""

    token_id: str
    world_id: str
    strategy_id: str
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Signed:
    """A ticket as a client carries it."""

    text: str
    expires_at: datetime


def sign(ticket: Ticket, *, now: datetime) -> Signed:
    """Return the ticket under a signature that dies after five minutes."""
    until = now + LIFETIME
    content = [ticket.token_id, ticket.world_id, ticket.strategy_id, list(ticket.topics), until.timestamp()]
    return Signed(signing.dumps(content, salt=_SALT), until)


def read(text: str, *, now: datetime) -> Ticket | None:
    """Return the ticket; forged, malformed and expired ones look alike."""
    try:
        token_id, world_id, strategy_id, topics, until = signing.loads(text, salt=_SALT)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    return Ticket(token_id, world_id, strategy_id, tuple(topics)) if now.timestamp() < until else None
