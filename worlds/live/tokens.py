"""Who calls, from memory: a token is looked up once, and forgotten within two seconds of its revocation."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from qmtl_worlds.contracts.acts import READ, Grants
from worlds.models import ApiToken
from worlds.services.authority import grants_of_token
from worlds.services.tokens import find_token, note_use
from worlds.stores.clock import database_now

LEASE: Final = "activation.lease"
MOST_TOKENS: Final = 50_000
UNCHECKED_SECONDS: Final = 2.0
"""Without a look at the rows for so long, nobody is let in on an old look."""
OVERLAP: Final = timedelta(seconds=10)
BEARER: Final = b"bearer "


@dataclass(slots=True)
class Caller:
    """A machine that may call; ``revoked`` is set once and stays."""

    token: ApiToken
    grants: Grants
    ends_at: float
    revoked: bool = False
    readable: dict[str, tuple[bool, bool]] = field(default_factory=dict)

    def rights(self, world_id: str) -> tuple[bool, bool]:
        """Return whether the caller may read this world, and whether its answers may be acted on."""
        known = self.readable.get(world_id)
        if known is None:
            known = (self.grants.allows(READ, world_id), self.grants.allows(LEASE, world_id))
            if len(self.readable) < MOST_TOKENS:
                self.readable[world_id] = known
        return known

    def is_live(self, now: float) -> bool:
        """Tell whether the token may be used at the monotonic time ``now``."""
        return not self.revoked and now < self.ends_at


class TokenBook:
    """The tokens seen by this process, by their header as it came."""

    def __init__(self) -> None:
        """Begin empty."""
        self._callers: dict[bytes, Caller] = {}
        self._by_id: defaultdict[str, list[Caller]] = defaultdict(list)
        self._looked_until: datetime | None = None
        self._checked_at = 0.0

    def find(self, header: bytes, *, now: float) -> Caller | None:
        """Return the caller from memory; None where the rows must be asked."""
        caller = self._callers.get(header)
        if caller is None or not caller.is_live(now) or now - self._checked_at > UNCHECKED_SECONDS:
            return None
        return caller

    def look_up(self, header: bytes) -> Caller | None:
        """Ask the rows; None where nobody may call with that. Called by the keeper's thread.

        Wrong, expired and revoked tokens look alike.
        """
        if header[: len(BEARER)].lower() != BEARER:
            return None
        started, now = time.monotonic(), database_now()
        token = find_token(text=header[len(BEARER) :].strip().decode("latin-1"), now=now)
        if token is None:
            self._callers.pop(header, None)
            return None
        note_use(token=token, now=now)
        caller = Caller(token, grants_of_token(token), started + (token.expires_at - now).total_seconds())
        if len(self._callers) >= MOST_TOKENS:
            self._callers.clear()
            self._by_id.clear()
        self._callers[header] = caller
        self._by_id[token.id].append(caller)
        return caller

    def recheck(self) -> bool:
        """Forget what was revoked since the last look; tell whether something was. Called by the keeper's thread."""
        started, now = time.monotonic(), database_now()
        since = (self._looked_until or now) - OVERLAP
        known = self._by_id.keys()
        revoked = known & set(ApiToken.objects.filter(revoked_at__gte=since).values_list("id", flat=True))
        for caller in [caller for token_id in revoked for caller in self._by_id.pop(token_id)]:
            caller.revoked = True
        self._looked_until, self._checked_at = now, started
        return bool(revoked)
