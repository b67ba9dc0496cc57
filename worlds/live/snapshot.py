"""One committed state of a world in memory, and the answers that follow from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import msgspec

from qmtl_worlds.contracts.activation import ActivationEnvelope
from qmtl_worlds.contracts.digests import digest
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.contracts.states import EffectiveMode
from qmtl_worlds.lifecycle.gate import EntryFacts, WorldFacts, answer, lease_left_ms
from qmtl_worlds.lifecycle.holds import HoldKind
from worlds.live.http import Header
from worlds.models import World
from worlds.services.gate_facts import Committed

Entries = Mapping[InstanceKey, EntryFacts]
NEVER: Final = math.inf
NO_STORE: Final = (b"cache-control", b"no-store")
MOST_KEPT: Final = 20_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """One answer in its wire form; ``changes_at`` is the monotonic time at which it turns stale by itself."""

    envelope: ActivationEnvelope
    etag: bytes
    body: bytes
    changes_at: float
    headers_of_304: tuple[Header, ...]
    headers_of_200: tuple[Header, ...]


@dataclass(slots=True)
class Kept:
    """The answer to a question as it came; ``heard_at`` is when its Runner last proved that it has the answer."""

    prepared: Prepared
    client_id: str
    heard_at: float


class WorldSnapshot:
    """A world at one position; answers are built when they are first asked for, and kept.

    Time runs on from the reading by the monotonic clock; a replay world stands still until its clock is stepped, which
    is another position.
    """

    def __init__(self, reading: Committed[Entries]) -> None:
        """Take over what was read."""
        self.facts: Final = reading.facts
        self.entries: Final = reading.entries
        self.lease_seconds: Final = reading.world.lease_ms / 1000
        self.policy_hash: Final = reading.policy_checksum or digest(None)
        self.read_at: Final = reading.started
        self._at: Final = reading.at
        self._started: Final = reading.started
        self._stands_still: Final = reading.world.mode == World.Mode.REPLAY
        self._last_fresh: Final = max(
            (entry.fresh_until for entry in reading.entries.values() if entry.fresh_until is not None), default=None
        )
        self.kept: dict[bytes, Kept] = {}
        self._prepared: dict[InstanceKey, Prepared] = {}
        self._unconfirmed: dict[InstanceKey, Prepared] = {}

    @property
    def position(self) -> Position:
        """Return where in the world's order this state stands."""
        return self.facts.position

    def is_same_as(self, other: WorldSnapshot) -> bool:
        """Tell whether both are one committed state; on SQLite a kill is a hold before it moves the position."""
        return self is other or (self.position == other.position and self.facts.holds == other.facts.holds)

    @property
    def is_killed(self) -> bool:
        """Tell whether the world or something in it is killed."""
        return any(hold.kind is HoldKind.KILL for hold in self.facts.holds)

    @property
    def told_after_seconds(self) -> float:
        """Return how old the newest change was when it was read; 0 where the world's clock is not the database's."""
        return 0.0 if self._stands_still else max(0.0, (self._at - self.facts.changed_at).total_seconds())

    def forget_answers(self) -> None:
        """Let go of the answers that were kept, once another state is served."""
        self.kept = {}
        self._prepared = {}
        self._unconfirmed = {}

    def prepared(self, key: InstanceKey, *, now: float, confirmed: bool = True, visible: bool = True) -> Prepared:
        """Return the answer for one instance at the monotonic time ``now``; unknown and invisible ones are closed."""
        entry = self.entries.get(key) if visible else None
        if entry is None:  # not kept: else anybody could fill the memory with names
            return self._prepare(EntryFacts(key=key), now=now, confirmed=confirmed)
        kept = self._prepared if confirmed else self._unconfirmed
        found = kept.get(key)
        if found is None or now >= found.changes_at:
            found = kept[key] = self._prepare(entry, now=now, confirmed=confirmed)
        return found

    def keep(self, question: bytes, kept: Kept) -> None:
        """Remember the answer to a question as it came, where it is about somebody who is known here."""
        envelope = kept.prepared.envelope
        if self.facts.confirmed and InstanceKey(envelope.strategy_id, envelope.side) in self.entries:
            if len(self.kept) >= MOST_KEPT:
                self.kept.clear()
            self.kept[question] = kept

    def lease_left_ms(self, prepared: Prepared, *, now: float, confirmed_at: float) -> int:
        """Return for how long the answer may be acted on, counted from ``now``."""
        return lease_left_ms(
            prepared.envelope,
            lease_seconds=self.lease_seconds,
            confirmed_for_seconds=now - confirmed_at,
            fresh_for_seconds=prepared.changes_at - now,
        )

    def is_confirmed(self, *, now: float, confirmed_at: float) -> bool:
        """Tell whether the rows said so less than a lease ago."""
        return self.facts.confirmed and 0 <= now - confirmed_at < self.lease_seconds

    def facts_at(self, now: float, *, confirmed: bool = True) -> WorldFacts:
        """Return the world's facts as they are at ``now``: with the last fresh instance the right to trade goes."""
        facts = self.facts if confirmed else replace(self.facts, confirmed=False)
        if self._last_fresh is not None and self._time(now) <= self._last_fresh:
            return facts
        return replace(facts, effective_mode=EffectiveMode.COMPUTE_ONLY)

    def _prepare(self, entry: EntryFacts, *, now: float, confirmed: bool) -> Prepared:
        envelope = answer(entry, self.facts_at(now, confirmed=confirmed), self._time(now))
        body = msgspec.json.encode(envelope.to_json())
        changes_at = min(self._monotonic(entry.fresh_until, now), self._monotonic(self._last_fresh, now))
        etag = f'"{envelope.etag}"'.encode()
        always = ((b"etag", etag), NO_STORE)
        of_body = ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)))
        return Prepared(envelope, etag, body, changes_at, always, always + of_body)

    def _time(self, now: float) -> datetime:
        if self._stands_still:
            return self._at
        return self._at + timedelta(seconds=now - self._started)

    def _monotonic(self, at: datetime | None, now: float) -> float:
        """Return when ``at`` will be on the monotonic clock; never, where it is past or time stands still."""
        if at is None or self._stands_still or at < self._time(now):
            return NEVER
        return self._started + (at - self._at).total_seconds()
