"""The answer to the question that is asked before every order."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from qmtl_worlds.contracts.activation import ActivationEnvelope
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.lifecycle.gate import EntryFacts, WorldFacts, answer, lease_left_ms
from worlds.selectors import get_world
from worlds.services.gate_facts import entry_facts, one_entry, world_facts
from worlds.stores.clock import database_now, world_now


@dataclass(frozen=True, slots=True)
class Answered:
    """One envelope and for how many milliseconds it may be acted on, counted from when the question was sent."""

    envelope: ActivationEnvelope
    lease_ms: int


@dataclass(frozen=True, slots=True)
class WholeSet:
    """Every instance that is bound or active, by key, and the world that they share."""

    world: WorldFacts
    envelopes: tuple[ActivationEnvelope, ...]


def activation_of(*, world_id: str, key: InstanceKey, visible: bool = True) -> Answered:
    """Answer for one instance from the rows; unknown instances, and invisible ones alike, are closed, as data.

    Raises:
        WorldNotFoundError: there is no such world.
    """
    started = time.monotonic()  # before the rows are read (R1)
    world = get_world(world_id)
    now = database_now()
    at = world_now(world, now=now)
    entry = one_entry(world=world, key=key) if visible else EntryFacts(key)
    envelope = answer(entry, world_facts(world=world, now=now), at)
    lease = lease_left_ms(
        envelope,
        lease_seconds=world.lease_ms / 1000,
        confirmed_for_seconds=time.monotonic() - started,
        fresh_for_seconds=_fresh_for(entry, at),
    )
    return Answered(envelope, lease)


def activations_of(*, world_id: str) -> WholeSet:
    """Answer for every instance of the world from one reading of the rows.

    Raises:
        WorldNotFoundError: there is no such world.
    """
    world = get_world(world_id)
    now = database_now()
    facts, at = world_facts(world=world, now=now), world_now(world, now=now)
    entries = entry_facts(world=world)
    return WholeSet(facts, tuple(answer(entries[key], facts, at) for key in sorted(entries)))


def _fresh_for(entry: EntryFacts, at: datetime) -> float:
    return (entry.fresh_until - at).total_seconds() if entry.fresh_until else 0.0
