"""Ask the workers, and wait as long as the caller wants to."""

from __future__ import annotations

import re
import threading
import time
from typing import Any, Final

import msgspec
from rest_framework.request import Request

from qmtl_worlds.contracts.digests import digest
from worlds.api.authentication import speaks_qmtl
from worlds.api.refusals import raise_refusal
from worlds.services.dispatch import await_reply, reply_key, send_once

DEFAULT_SECONDS: Final = 0.25
QMTL_SECONDS: Final = 0.18
"""QMTL's clients give up after 0.3 s, counted on their side; ours begins when a thread takes the request."""
SHORTEST_SECONDS: Final = 0.01
STARTED: Final = "qmtl_worlds.started"
"""Where in ``META`` it stands when that was, on the monotonic clock."""
LONGEST_SECONDS: Final = 10.0
WAIT_HEADER: Final = {"Prefer": "`wait=N`: wait up to N seconds (at most 10) for the outcome, else 250 ms"}

LONG_WAITS: Final = 2
"""How many requests may wait long at a time; each holds a thread of a small pool, which gates need too."""

_long_waits = threading.BoundedSemaphore(LONG_WAITS)
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,6})(?:$|[,;\s])")


def seconds_to_wait(request: Request) -> float:
    """Return what ``Prefer: wait=N`` asks for, at most ten seconds; a quarter of one, or less, where it does not."""
    wanted = _WAIT.search(request.headers.get("Prefer", ""))
    if wanted:
        return min(float(wanted[1]), LONGEST_SECONDS)
    now = time.monotonic()
    spent = now - float(request.META.get(STARTED, now))
    return max(SHORTEST_SECONDS, (QMTL_SECONDS if speaks_qmtl(request) else DEFAULT_SECONDS) - spent)


def wait_for(request: Request, *, key: str) -> bytes | None:
    """Wait for the answer under ``key`` as long as the caller wants; not for long where others do so already.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    seconds = seconds_to_wait(request)
    if seconds <= DEFAULT_SECONDS or not _long_waits.acquire(blocking=False):
        return await_reply(key=key, seconds=min(seconds, DEFAULT_SECONDS))
    try:
        return await_reply(key=key, seconds=seconds)
    finally:
        _long_waits.release()


def ask(request: Request, *, task: str, asked: object, **arguments: object) -> dict[str, Any] | None:
    """Send a task and wait for its answer, None where it does not come in time.

    ``asked`` names the question: the same one again, soon, goes on waiting for the answer instead of computing anew.

    Raises:
        WorldsError: the worker refused.
        StoreUnavailableError: Redis does not answer.
    """
    key = reply_key(digest(asked))
    send_once(task=task, queue="compute", reply_to=key, **arguments)
    answer = wait_for(request, key=key)
    if answer is None:
        return None
    told: dict[str, Any] = msgspec.json.decode(answer)
    if "error" in told:
        raise_refusal(told["error"])
    return told
