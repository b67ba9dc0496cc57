"""Machine tokens: made once, shown once, checked by hash, revoked by the next request."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import OperationalError, transaction

from audit.chain import SYSTEM_CHAIN
from audit.recorder import record
from qmtl_worlds.contracts.acts import ANY_WORLD, Act
from qmtl_worlds.contracts.errors import InputInvalidError, NotFoundError, WorldNotFoundError
from qmtl_worlds.contracts.ids import check_object_id
from strategies.models import Provenance
from worlds.models import ApiToken, World
from worlds.services.authority import roles

LIFETIME: Final = timedelta(days=90)
_TOKEN: Final = re.compile(
    r"(?P<body>qw_(?P<role>[a-z]{1,16})_(?P<id>[0-9a-f]{16})_(?P<secret>[0-9a-f]{64}))_(?P<checksum>[0-9a-f]{8})"
)


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """How long a token lives, 90 days without ``expires_at``, and what the returns that it pushes count as.

    With an empty ``provenance`` the mode of the world tells.
    """

    expires_at: datetime | None = None
    provenance: str = ""


USUAL_TERMS: Final = TokenTerms()


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just made; ``text`` exists here and nowhere else."""

    token: ApiToken
    text: str


@transaction.atomic
def create_token(
    *,
    role: str,
    name: str,
    act: Act,
    worlds: Sequence[str] = (),
    strategies: Sequence[str] = (),
    terms: TokenTerms = USUAL_TERMS,
) -> NewToken:
    """Make a token ``qw_<role>_<id>_<secret>_<checksum>``; only its hash is stored.

    ``worlds`` and ``strategies`` limit it; none means all.

    Raises:
        InputInvalidError: the role is no machine's, the provenance is unknown, or the expiry is past.
        WorldNotFoundError: a world does not exist.
    """
    act.require("tokens.manage", ANY_WORLD)
    _check(role, strategies, terms, act.now)
    key_id, secret = secrets.token_hex(8), secrets.token_hex(32)
    token = ApiToken.objects.create(
        id=key_id,
        role=role,
        name=name,
        secret_hash=hash_secret(secret),
        strategies=sorted(set(strategies)),
        provenance=terms.provenance,
        created_by=act.actor,
        created_at=act.now,
        expires_at=terms.expires_at or act.now + LIFETIME,
    )
    token.worlds.set([_existing_world(world_id) for world_id in worlds])
    facts = {
        "role": role,
        "worlds": sorted(worlds),
        "strategies": token.strategies,
        "provenance": token.provenance,
    }
    record(chain=SYSTEM_CHAIN, kind="access.token_created", act=act, subject=key_id, after=facts)
    body = f"qw_{role}_{key_id}_{secret}"
    return NewToken(token, f"{body}_{_checksum(body)}")


@transaction.atomic
def revoke_token(*, token_id: str, act: Act) -> ApiToken:
    """Make a token worthless from the next request on; once is for ever.

    Raises:
        NotFoundError: there is no such token.
    """
    act.require("tokens.manage", ANY_WORLD)
    token = ApiToken.objects.select_for_update().filter(id=token_id).first()
    if token is None:
        raise NotFoundError(f"There is no token {token_id!r}.", token_id=token_id)
    if token.revoked_at is None:
        token.revoked_at = act.now
        token.save(update_fields=["revoked_at"])
        record(chain=SYSTEM_CHAIN, kind="access.token_revoked", act=act, subject=token_id)
    return token


def find_token(*, text: str, now: datetime) -> ApiToken | None:
    """Return the live token that ``text`` is, or None: malformed, unknown, wrong, expired and revoked look alike."""
    parts = _TOKEN.fullmatch(text)
    if parts is None or _checksum(parts["body"]) != parts["checksum"]:
        return None
    token = ApiToken.objects.prefetch_related("worlds").filter(id=parts["id"], role=parts["role"]).first()
    if token is None or not hmac.compare_digest(token.secret_hash, hash_secret(parts["secret"])):
        return None
    return token if token.is_live(now) else None


def note_use(*, token: ApiToken, now: datetime) -> None:
    """Remember that the token was used, to the minute, so that a busy one does not cost a write a request.

    A kill must not fail because somebody holds the writer.
    """
    if token.last_used_at is None or now - token.last_used_at >= timedelta(minutes=1):
        with contextlib.suppress(OperationalError):
            ApiToken.objects.filter(id=token.id).update(last_used_at=now)


def hash_secret(secret: str) -> str:
    """Return the SHA-256 of a secret; it has 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


def _check(role: str, strategies: Sequence[str], terms: TokenTerms, now: datetime) -> None:
    if role not in roles().machines:
        raise InputInvalidError(field="role", reason=f"must be one of {', '.join(sorted(roles().machines))}")
    if terms.expires_at is not None and terms.expires_at <= now:
        raise InputInvalidError(field="expires_at", reason="must be in the future")
    if terms.provenance not in {"", *Provenance.values}:
        raise InputInvalidError(field="provenance", reason=f"must be one of {', '.join(Provenance.values)}, or empty")
    for strategy_id in strategies:
        check_object_id(strategy_id, field="strategies")


def _existing_world(world_id: str) -> World:
    world = World.objects.filter(id=world_id).first()
    if world is None:
        raise WorldNotFoundError(world_id)
    return world
