"""The clocks of the state machine: the database's and the process's own, which move only when a step moves them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Final, cast
from unittest import mock

from worlds.services import activation, drain_watch, gate_facts
from worlds.stores import clock as database_clock

START: Final = datetime(2026, 3, 9, 14, tzinfo=UTC)
_TIMED_BY: Final = (activation, gate_facts)
_EXPRESSIONS: Final = cast("dict[str, str]", vars(database_clock)["_NOW"])


class Clock:
    """``now`` is what the database says, ``monotonic`` what the process counts."""

    def __init__(self) -> None:
        self.now = START
        self.monotonic = 1000.0

    def wait(self, seconds: float) -> None:
        """Let time pass on every clock."""
        self.jump(seconds)
        self.monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Correct the database's clock; no time passes."""
        self.now += timedelta(seconds=seconds)
        self.tell()

    def tell(self) -> None:
        """Let the database say this time, whoever asks it."""
        text = self.now.isoformat(sep=" ", timespec="microseconds")
        _EXPRESSIONS["postgresql"] = f"TIMESTAMPTZ '{text}'"
        _EXPRESSIONS["sqlite"] = f"'{text.removesuffix('+00:00')}'"


@contextlib.contextmanager
def ruled_by(clock: Clock) -> Iterator[None]:
    """Let the database and everything in the process go by ``clock``."""
    own = SimpleNamespace(monotonic=lambda: clock.monotonic)
    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch.dict(_EXPRESSIONS))
        patches.enter_context(mock.patch.object(drain_watch, "time", own))
        for module in _TIMED_BY:
            patches.enter_context(mock.patch.object(module, "boot_time", own.monotonic))
        clock.tell()
        yield
