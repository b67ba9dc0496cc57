"""Signs of life of the processes and of what they need, for /health."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import InterfaceError, OperationalError

from qmtl_worlds.contracts.errors import StoreUnavailableError
from worlds.models import Heartbeat
from worlds.services.dispatch import worker_beat_at
from worlds.stores.clock import database_now

TICK: Final = "tick"
LOST_AFTER: Final = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Part:
    """Whether one thing is there; ``beat_at`` is its last sign of life where it gives any."""

    ok: bool
    detail: str = ""
    beat_at: datetime | None = None


def beat(*, process: str, now: datetime) -> datetime | None:
    """Note that a process is alive, and return when it was before; None for the first time."""
    last = Heartbeat.objects.filter(process=process).values_list("beat_at", flat=True).first()
    Heartbeat.objects.update_or_create(process=process, defaults={"beat_at": now})
    return last


def database_part() -> Part:
    """Tell whether the database answers."""
    try:
        database_now()
    except (OperationalError, InterfaceError):
        return Part(ok=False, detail="does not answer")
    return Part(ok=True)


def all_parts() -> dict[str, Part]:
    """Tell whether database, store, workers and tick are alive; what is away is told, never raised."""
    parts = {"database": database_part()}
    if parts["database"].ok:
        now = database_now()
        ticked = Heartbeat.objects.filter(process=TICK).values_list("beat_at", flat=True).first()
        parts[TICK] = _alive(ticked, now)
    else:
        now, parts[TICK] = None, Part(ok=False, detail="cannot be known without the database")
    try:
        worked = worker_beat_at()
    except StoreUnavailableError:
        return parts | {"redis": Part(ok=False, detail="does not answer"), "worker": Part(ok=False, detail="unknown")}
    return parts | {"redis": Part(ok=True), "worker": _alive(worked, now or worked)}


def _alive(beat_at: datetime | None, now: datetime | None) -> Part:
    if beat_at is None or now is None:
        return Part(ok=False, detail="was never seen")
    late = now - beat_at > LOST_AFTER
    return Part(ok=not late, detail="has not been seen for a while" if late else "", beat_at=beat_at)
