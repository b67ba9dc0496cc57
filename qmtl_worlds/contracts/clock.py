"""The clock by which permissions live and die. Standard library only."""

from __future__ import annotations

import time
from functools import partial
from typing import Final

_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

boot_time: Final = partial(time.clock_gettime, _BOOT_CLOCK)
"""Return the seconds since this host was started.

Nobody can set it, as with ``time.monotonic``; on Linux it also goes on while the host is suspended, so that a process
which slept for an hour finds its permissions dead and what it confirmed before out of date.
"""
