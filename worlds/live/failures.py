"""How many planned changes of each world never happened, counted on from one look at the rows to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from worlds.services.alerts import FailedChanges, failed_changes

SETTLED: Final = timedelta(seconds=5)
"""What ended later may still be in a transaction that nobody sees."""
NONE: Final = FailedChanges(0, 0)


class Failures:
    """The counts by world, and up to when they go; the scribe's thread writes, each time by one assignment."""

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self._counted: Mapping[str, tuple[datetime, FailedChanges]] = {}

    def look(self, world_ids: Iterable[str], *, now: datetime) -> None:
        """Count what is new in these worlds, and forget the others."""
        up_to = now - SETTLED
        self._counted = {world_id: (up_to, self._of(world_id, up_to)) for world_id in world_ids}

    def all(self) -> dict[str, FailedChanges]:
        """Return the counts by world."""
        return {world_id: found for world_id, (_, found) in self._counted.items()}

    def _of(self, world_id: str, up_to: datetime) -> FailedChanges:
        after, before = self._counted.get(world_id, (None, NONE))
        return before + failed_changes(world_id=world_id, after=after, up_to=up_to)
