"""Who calls, from memory: a token is looked up once, and forgotten within two seconds of its revocation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from weakref import WeakSet

from qmtl_worlds.contracts.acts import ANY_WORLD, READ, Grants
from qmtl_worlds.contracts.clock import boot_time
from worlds.live.limits import Budget
from worlds.models import ApiToken
from worlds.services.authority import grants_of_token
from worlds.services.tokens import find_token
from worlds.stores.clock import database_now
from worlds.stores.token_rows import revoked_since

LEASE: Final = "activation.lease"
MOST_TOKENS: Final = 50_000
LONGEST_HEADER: Final = 256
UNCHECKED_SECONDS: Final = 2.0
"""Without a look at the rows for so long, nobody is let in on an old look."""
OVERLAP: Final = timedelta(seconds=10)
BEARER: Final = b"bearer "


@dataclass(slots=True, eq=False, weakref_slot=True)
class Caller:
    """A machine that may call; ``revoked`` is set once and stays.

    ``by_world`` and ``elsewhere`` tell whether it may read a world, and whether what it is told may be acted on.
    """

    token: ApiToken
    grants: Grants
    ends_at: float
    revoked: bool = False
    budget: Budget = field(default_factory=Budget.of_reads)
    streams: int = 0
    by_world: Mapping[str, tuple[bool, bool]] = field(init=False)
    elsewhere: tuple[bool, bool] = field(init=False)

    def __post_init__(self) -> None:
        """Look the rights up once: no name that a caller makes up takes memory."""
        self.by_world = {world_id: self._rights(world_id) for world_id in self.grants.by_world}
        self.elsewhere = self._rights(ANY_WORLD)

    def rights(self, world_id: str) -> tuple[bool, bool]:
        """Return whether the caller may read this world, and whether its answers may be acted on."""
        return self.by_world.get(world_id, self.elsewhere)

    def is_live(self, now: float) -> bool:
        """Tell whether the token may be used at the monotonic time ``now``."""
        return not self.revoked and now < self.ends_at

    def _rights(self, world_id: str) -> tuple[bool, bool]:
        return self.grants.allows(READ, world_id), self.grants.allows(LEASE, world_id)


class TokenBook:
    """The tokens seen by this process, by their header as it came."""

    def __init__(self) -> None:
        """Begin empty."""
        self._callers: dict[bytes, Caller] = {}
        self._by_id: defaultdict[str, WeakSet[Caller]] = defaultdict(WeakSet)
        self._looked_until: datetime | None = None
        self._checked_at = 0.0

    def find(self, header: bytes, *, now: float) -> Caller | None:
        """Return the caller from memory; None where the rows must be asked."""
        caller = self._callers.get(header)
        if caller is None or caller.revoked or now >= caller.ends_at or now - self._checked_at > UNCHECKED_SECONDS:
            return None
        return caller

    def look_up(self, header: bytes) -> Caller | None:
        """Ask the rows; None where nobody may call with that. Called by the keeper's thread.

        Wrong, expired and revoked tokens look alike.
        """
        started, now = boot_time(), database_now()
        token = find_token(text=header[len(BEARER) :].strip().decode("latin-1"), now=now)
        if token is None:
            self._callers.pop(header, None)
            return None
        caller = Caller(token, grants_of_token(token), started + (token.expires_at - now).total_seconds())
        if len(self._callers) >= MOST_TOKENS:
            self._callers.clear()  # those who stream stay known by their token, so that a revocation ends them
        self._callers[header] = caller
        self._by_id[token.id].add(caller)
        return caller

    def follow(self, token_id: str) -> Caller | None:
        """Return who holds the token of that id, known until it is revoked; None where it may not be used.

        Called by the keeper's thread.
        """
        started, now = boot_time(), database_now()
        token = ApiToken.objects.prefetch_related("worlds").filter(id=token_id).first()
        if token is None or not token.is_live(now):
            return None
        known = next(iter(self._by_id.get(token_id, ())), None)
        if known is not None:
            return known
        caller = Caller(token, grants_of_token(token), started + (token.expires_at - now).total_seconds())
        self._by_id[token.id].add(caller)
        return caller

    def used_since(self, moment: float) -> tuple[Caller, ...]:
        """Return who has asked since the monotonic time ``moment``."""
        return tuple(caller for caller in tuple(self._callers.values()) if caller.budget.at >= moment)

    def recheck(self) -> bool:
        """Forget what was revoked since the last look; tell whether something was. Called by the keeper's thread."""
        started = boot_time()
        now, lately = revoked_since((self._looked_until or database_now()) - OVERLAP)
        for token_id in [token_id for token_id, callers in self._by_id.items() if not callers]:
            del self._by_id[token_id]
        revoked = self._by_id.keys() & lately
        for caller in [caller for token_id in revoked for caller in self._by_id.pop(token_id)]:
            caller.revoked = True
        self._looked_until, self._checked_at = now, started
        return bool(revoked)


def may_be_token(header: bytes) -> bool:
    """Tell whether a header is worth asking the rows about."""
    return len(header) <= LONGEST_HEADER and header[: len(BEARER)].lower() == BEARER
