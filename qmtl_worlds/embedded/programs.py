"""The processes of one machine: Valkey, web, worker, beat and tick, as the supervisor runs them."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from qmtl_worlds.embedded import valkey
from qmtl_worlds.embedded.supervisor import Program

HOST: Final = "127.0.0.1"
_ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def all_programs(*, base: Path, data: Path, port: int, environment: Mapping[str, str], logs: Path) -> list[Program]:
    """Return everything that a server needs beside its database, in the order in which to start it.

    ``base`` holds manage.py, ``data`` the sockets and schedules. With ``REDIS_URL`` in ``environment`` that server is
    used and none is started.
    """
    programs = [] if environment.get("REDIS_URL") else [_valkey(data)]
    manage = (sys.executable, str(base / "manage.py"))
    celery = (sys.executable, "-m", "celery", "--workdir", str(base), "-A", "qmtl_worlds.celery")
    worker = (*celery, "worker", "--queues", "control,compute", "--concurrency", "2", "--loglevel", "INFO")
    return [
        *programs,
        _web(base, port, environment),
        Program(
            name="worker",
            command=(*worker, "--hostname", "worker@local", "--without-gossip", "--without-mingle"),
            environment={**environment, **_ONE_THREAD},
            is_ready=lambda: _says(logs / "worker.log", " ready."),
        ),
        Program(
            name="beat",
            command=(*celery, "beat", "--schedule", str(data / "beat-schedule"), "--pidfile="),
            environment=environment,
        ),
        Program(name="tick", command=(*manage, "tick"), environment=environment),
    ]


def address(port: int) -> str:
    """Return where the web process answers."""
    return f"http://{HOST}:{port}"


def _valkey(data: Path) -> Program:
    folder = data / "valkey"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    socket = valkey.socket_in(folder)
    return Program(
        name="valkey",
        command=tuple(valkey.command(folder, durable=True)),
        is_ready=lambda: valkey.answers(socket),
    )


def _web(base: Path, port: int, environment: Mapping[str, str]) -> Program:
    command = (
        *(sys.executable, "-m", "uvicorn", "qmtl_worlds.asgi:application", "--app-dir", str(base)),
        *("--host", HOST, "--port", str(port), "--http", "qmtl_worlds.connections:GuardedProtocol", "--loop", "uvloop"),
        *("--no-access-log", "--no-server-header", "--lifespan", "off", "--log-level", "warning"),
    )
    return Program(name="web", command=command, environment=environment, is_ready=lambda: _answers(port))


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=1)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _says(log: Path, words: str) -> bool:
    return log.exists() and words in log.read_text(encoding="utf-8", errors="replace")
