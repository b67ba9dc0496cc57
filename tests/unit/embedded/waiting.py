from __future__ import annotations

import threading
import time
from collections.abc import Callable


def eventually(is_so: Callable[[], bool], *, within_seconds: float = 20.0) -> bool:
    """Wait for what another process does; tells whether it came true in time."""
    deadline = time.monotonic() + within_seconds
    pause = threading.Event()
    while not is_so():
        if time.monotonic() > deadline:
            return False
        pause.wait(0.01)
    return True
