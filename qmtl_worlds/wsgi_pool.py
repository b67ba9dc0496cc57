"""Django's WSGI handler on a bounded pool of threads, given whole bodies and giving whole answers.

A thread is busy while Django is, and never waits for a slow caller: bodies are read and answers are sent on the loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import io
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

Environ = dict[str, Any]
Wsgi = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

_UNPREFIXED: Final = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH"})


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """What the application said."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class WsgiPool:
    """Runs requests on its threads, in the order in which they came."""

    def __init__(self, wsgi: Wsgi, *, threads: int) -> None:
        """Prepare; threads start with the first requests."""
        self._wsgi = wsgi
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="django")

    async def answer(self, scope: Mapping[str, Any], body: bytes) -> WholeAnswer:
        """Return the application's answer to a request."""
        run = contextvars.copy_context().run
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, run, self.answer_here, scope, body)

    def answer_here(self, scope: Mapping[str, Any], body: bytes) -> WholeAnswer:
        """Return the application's answer, on this thread."""
        return self._answer(environ_of(scope, body))

    def close(self) -> None:
        """End the threads."""
        self._executor.shutdown()

    def _answer(self, environ: Environ) -> WholeAnswer:
        started: list[tuple[str, list[tuple[str, str]]]] = []
        written: list[bytes] = []

        def start_response(status: str, headers: list[tuple[str, str]], _error: object = None) -> Callable[..., object]:
            started[:] = [(status, headers)]
            return written.append

        parts = self._wsgi(environ, start_response)
        try:
            written.extend(parts)
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()  # Django gives its connection back here
        status, headers = started[0]
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        return WholeAnswer(int(status.partition(" ")[0]), encoded, b"".join(written))


def environ_of(scope: Mapping[str, Any], body: bytes) -> Environ:
    """Return the request as PEP 3333 has it.

    Headers with an underscore are left out: they would come in under the name of others.
    """
    host, port = scope.get("server") or ("localhost", None)
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": str(host),
        "SERVER_PORT": str(port or 0),
        "REMOTE_ADDR": str((scope.get("client") or ("",))[0]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in scope["headers"]:
        if b"_" in name:
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key in _UNPREFIXED else f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ
