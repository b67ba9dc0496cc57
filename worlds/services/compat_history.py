"""What QMTL's clients tell of their data: how far it reaches, and its fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, Final

from django.db import transaction

from audit.recorder import record
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.digests import canonical_json
from strategies.models import StrategyInstance
from strategies.services.bind import Binding
from strategies.services.coverage import note_coverage
from strategies.services.currency import refresh_world_currency
from worlds.models import World
from worlds.services.binding import bind
from worlds.services.changes import announce, locked_world
from worlds.services.compat import RESERVED
from worlds.services.freshness import freshness_rule

MOST_ENTRIES: Final = 64
"""So many coverages are remembered per world, by strategy and node; the oldest is forgotten first."""
MOST_BYTES: Final = 65_536
"""Of all of them together: they are read with the world's row, by everybody who reads that."""


@dataclass(frozen=True, slots=True)
class HistoryNote:
    """One report; ``facts`` are kept as they came. Without ``last`` nothing turns fresh."""

    strategy_id: str
    node_id: str
    first: datetime | None
    last: datetime | None
    interval_seconds: int | None
    facts: Mapping[str, Any]


@transaction.atomic
def note_history(*, world_id: str, note: HistoryNote, act: Act) -> None:
    """Keep the report, and let the strategy's data be as current as it says. Twice is once.

    Raises:
        StrategyNotFoundError: the strategy is not bound.
        InputInvalidError: the coverage lies ahead of the clock, or its bounds are out of order.
    """
    act.require("series.push", world_id, strategy_id=note.strategy_id)
    world = locked_world(world_id)
    if note.last is not None:
        first = note.first or note.last
        note_coverage(world_id=world_id, strategy_id=note.strategy_id, first=first, last=note.last, now=act.now)
        _shorten_bar(world, note, act)
        if refresh_world_currency(world_id=world_id, rule=freshness_rule(world)):
            announce(world, kind="freshness_updated", payload={"strategy_id": note.strategy_id}, now=act.now)
    _remember(world, note, act)


def histories_of(world: World) -> list[dict[str, Any]]:
    """Return the reports, oldest first."""
    kept: dict[str, dict[str, Any]] = world.metadata.get(RESERVED, {})
    return sorted(kept.values(), key=lambda entry: str(entry["updated_at"]))


def decision_extras(world: World) -> dict[str, Any]:
    """Return what a decision says of the data: the facts of the latest report."""
    known = histories_of(world)
    if not known:
        return {}
    latest = known[-1]
    names = ("dataset_fingerprint", "coverage_bounds", "conformance_flags", "conformance_warnings", "rows", "artifact")
    found = {name: latest[name] for name in names if latest.get(name) is not None}
    return {**found, "history_updated_at": latest["updated_at"]}


def _shorten_bar(world: World, note: HistoryNote, act: Act) -> None:
    """Take over the length of a bar where the strategy's long side has another one."""
    if note.interval_seconds is None:
        return
    bound = StrategyInstance.objects.filter(world=world, strategy_id=note.strategy_id, withdrawn_at=None)
    for instance in bound.exclude(interval_seconds=note.interval_seconds):
        told = Binding(note.strategy_id, instance.key.side, interval_seconds=note.interval_seconds)
        bind(world_id=world.id, bindings=[told], act=act)


def _remember(world: World, note: HistoryNote, act: Act) -> None:
    world.refresh_from_db(fields=["metadata", "sequence"])
    place = f"{note.strategy_id}|{note.node_id}"
    entry = {**note.facts, "strategy_id": note.strategy_id, "node_id": note.node_id}
    kept = dict(world.metadata.get(RESERVED, {}))
    before = {name: value for name, value in kept.get(place, {}).items() if name != "updated_at"}
    if before == entry:
        return
    kept.pop(place, None)
    kept[place] = {**entry, "updated_at": act.now.astimezone(UTC).isoformat().replace("+00:00", "Z")}
    world.metadata = {**world.metadata, RESERVED: _newest(kept)}
    world.save(update_fields=["metadata"])
    record(chain=world.id, kind="data.coverage_told", act=act, subject=note.strategy_id, after=entry)


def _newest(kept: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the newest entries, as many as are remembered; one alone is never over the bound."""
    newest_first = sorted(kept, key=lambda name: str(kept[name]["updated_at"]), reverse=True)[:MOST_ENTRIES]
    ends = accumulate(len(canonical_json(kept[name])) for name in newest_first)
    return {name: kept[name] for name, end in zip(newest_first, ends, strict=True) if end <= MOST_BYTES}
