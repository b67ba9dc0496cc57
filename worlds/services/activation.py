"""The answer to the question that is asked before every order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from qmtl_worlds.contracts.activation import ActivationEnvelope
from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.lifecycle.gate import EntryFacts, WorldFacts, answer, lease_left_ms
from worlds.services.gate_facts import entry_facts, one_entry, read_committed


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
    reading = read_committed(
        world_id=world_id, read=lambda world: one_entry(world=world, key=key) if visible else EntryFacts(key)
    )
    entry, at = reading.entries, reading.at
    envelope = answer(entry, reading.facts, at)
    lease = lease_left_ms(
        envelope,
        lease_seconds=reading.world.lease_ms / 1000,
        confirmed_for_seconds=boot_time() - reading.started,
        fresh_for_seconds=_fresh_for(entry, at),
    )
    return Answered(envelope, lease)


def activations_of(*, world_id: str) -> WholeSet:
    """Answer for every instance of the world from one reading of the rows.

    Raises:
        WorldNotFoundError: there is no such world.
    """
    reading = read_committed(world_id=world_id, read=lambda world: entry_facts(world=world))
    envelopes = (answer(reading.entries[key], reading.facts, reading.at) for key in sorted(reading.entries))
    return WholeSet(reading.facts, tuple(envelopes))


def _fresh_for(entry: EntryFacts, at: datetime) -> float:
    return (entry.fresh_until - at).total_seconds() if entry.fresh_until else 0.0
