"""How the streaks of a world's instances are stored: four packed columns in one row."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.contracts.errors import PlanStaleError
from worlds.models import StreakState

_NO_EVIDENCE = -1
_BYTES_A_ROW = 8 + 4 + 4 + 8


@dataclass(frozen=True, slots=True, eq=False)
class StoredStreaks:
    """Streaks by instance id, ascending; ``revision`` is what a writer must still find."""

    revision: int
    selection_checksum: str
    instance_ids: NDArray[np.int64]
    in_streak: NDArray[np.int32]
    out_streak: NDArray[np.int32]
    evidence: NDArray[np.int64]

    def aligned(
        self, instance_ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
        """Return the three columns for ``instance_ids`` in their order; instances never seen have 0, 0, -1."""
        count = len(instance_ids)
        in_streak, out_streak = np.zeros(count, np.int32), np.zeros(count, np.int32)
        evidence = np.full(count, _NO_EVIDENCE, np.int64)
        if len(self.instance_ids) == 0:
            return in_streak, out_streak, evidence
        places = np.searchsorted(self.instance_ids, instance_ids).clip(max=len(self.instance_ids) - 1)
        known = self.instance_ids[places] == instance_ids
        in_streak[known] = self.in_streak[places[known]]
        out_streak[known] = self.out_streak[places[known]]
        evidence[known] = self.evidence[places[known]]
        return in_streak, out_streak, evidence


def read_streaks(world_id: str) -> StoredStreaks:
    """Return the world's streaks as they are stored now."""
    state = StreakState.objects.get(world_id=world_id)
    data = zlib.decompress(bytes(state.columns)) if state.columns else b""
    count = len(data) // _BYTES_A_ROW
    ids, rest = data[: 8 * count], data[8 * count :]
    return StoredStreaks(
        revision=state.revision,
        selection_checksum=state.selection_checksum,
        instance_ids=np.frombuffer(ids, "<i8"),
        in_streak=np.frombuffer(rest[: 4 * count], "<i4"),
        out_streak=np.frombuffer(rest[4 * count : 8 * count], "<i4"),
        evidence=np.frombuffer(rest[8 * count :], "<i8"),
    )


def write_streaks(*, world_id: str, streaks: StoredStreaks, run_id: str, now: datetime) -> None:
    """Store streaks that were computed from revision ``streaks.revision``.

    Raises:
        PlanStaleError: another evaluation stored its own in between; this one must be computed again.
    """
    data = b"".join(
        column.astype(kind).tobytes()
        for column, kind in (
            (streaks.instance_ids, "<i8"),
            (streaks.in_streak, "<i4"),
            (streaks.out_streak, "<i4"),
            (streaks.evidence, "<i8"),
        )
    )
    stored = StreakState.objects.filter(world_id=world_id, revision=streaks.revision).update(
        revision=streaks.revision + 1,
        selection_checksum=streaks.selection_checksum,
        columns=zlib.compress(data, 1),
        updated_by_run=run_id,
        updated_at=now,
    )
    if not stored:
        raise PlanStaleError("Another evaluation of this world finished first; evaluate again.", world_id=world_id)
