"""Signs of life of the processes, for /health."""

from __future__ import annotations

from datetime import datetime

from worlds.models import Heartbeat


def beat(*, process: str, now: datetime) -> None:
    """Note that a process is alive."""
    Heartbeat.objects.update_or_create(process=process, defaults={"beat_at": now})
