"""The clock by which permissions live and die. Standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

boot_time: Final[Callable[[], float]] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
"""Return the seconds since this host was started.

Nobody can set it, as with ``time.monotonic``; on Linux it also goes on while the host is suspended, so that a process
which slept for an hour finds its permissions dead and what it confirmed before out of date.
"""
