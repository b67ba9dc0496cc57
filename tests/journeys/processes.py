"""Real worker and tick processes on the test's own database and Valkey."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings
from django.db import connection

from qmtl_worlds.embedded import valkey
from qmtl_worlds.embedded.process import spawn, stop, tail
from qmtl_worlds.embedded.programs import all_programs


@dataclass(slots=True)
class Server:
    """Starts, kills and stops the processes of a server by name; ``folder`` takes their logs."""

    folder: Path
    environment: dict[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    port: int = 0

    def start(self, name: str) -> None:
        """Start ``worker``, ``tick`` or, on ``port``, ``web``, as the supervisor would."""
        programs = all_programs(
            base=Path(settings.BASE_DIR),
            data=self.folder,
            port=self.port,
            environment=self.environment,
            logs=self.folder,
        )
        program = next(program for program in programs if program.name == name)
        environment = {**self.environment, **program.environment}
        self.running[name] = spawn(program.command, log=self.folder / f"{name}.log", environment=environment)

    def kill(self, name: str) -> None:
        """End a process and all it started with SIGKILL: it cleans nothing up."""
        stop(self.running.pop(name), grace_seconds=0)

    def logs(self) -> str:
        """Return the ends of all logs, for the message of a test that fails."""
        return "\n".join(f"== {log.name}\n{tail(log)}" for log in sorted(self.folder.glob("*.log")))


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Yield a server on the test's database; whatever still runs at the end is stopped."""
    server = Server(folder, _environment(folder))
    try:
        yield server
    finally:
        for process in server.running.values():
            stop(process, grace_seconds=2)


def _environment(folder: Path) -> dict[str, str]:
    socket = valkey.socket_in(Path(settings.DATA_DIR) / "valkey")
    found = {"QW_DATA_DIR": str(folder), "REDIS_URL": os.environ.get("REDIS_URL") or f"unix://{socket}"}
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        (folder / "worlds.sqlite3").symlink_to(name)
        return found
    return found | {"DATABASE_URL": urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))}
