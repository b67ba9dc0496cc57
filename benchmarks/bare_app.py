"""A constant answer, with the headers and the body that the environment gives: the floor of what an answer costs."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.servers import decode_answer

HEADERS, BODY = decode_answer(os.environ["QW_BENCHMARK_ANSWER"])


async def application(_scope: Any, _receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
    """Answer."""
    await send({"type": "http.response.start", "status": 200 if BODY else 304, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
