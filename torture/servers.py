"""The throw-away servers of a storm, in a temporary folder: a database, a Valkey, and the settings that name them."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from qmtl_worlds.embedded import postgres, valkey
from qmtl_worlds.embedded.process import spawn, stop, wait_until_ready
from torture.disk import SmallDisk

TIME_SCALE: Final = 10
"""Worker leases of 0.3 s, runs that are overdue after 30 s."""
SLACK_SECONDS: Final = 0.25 / TIME_SCALE


class Cache:
    """A Valkey on a socket that can be stopped, started again, and made sick."""

    def __init__(self, folder: Path) -> None:
        """Start it in ``folder``."""
        self._folder = folder
        self._server = valkey.start(folder)

    @property
    def url(self) -> str:
        """The address as ``REDIS_URL`` takes it."""
        return self._server.url

    @property
    def dump(self) -> Path:
        """Where it saves itself when asked to."""
        return self._folder / "dump.rdb"

    def crash(self) -> None:
        """End it by SIGKILL."""
        stop(self._server.process, grace_seconds=0)
        self._server.socket.unlink(missing_ok=True)

    def start_again(self, *, dump: Path | None = None) -> None:
        """Start it at the same address: empty, or with what ``dump`` holds."""
        if dump is not None:
            shutil.copy(dump, self.dump)
        else:
            self.dump.unlink(missing_ok=True)
        log = self._folder / "valkey.log"
        process = spawn(valkey.command(self._folder, durable=False), log=log)
        wait_until_ready(process, lambda: valkey.answers(self._server.socket), log=log)
        self._server = valkey.Valkey(self._server.socket, process)

    def stop(self) -> None:
        """End it."""
        self._server.stop()


class Database:
    """A database that lives in a folder; a PostgreSQL can crash and come back, SQLite is a file."""

    def __init__(self, vendor: str, folder: Path, *, small_disk: bool = False) -> None:
        """Start it, on a small disk where that is wanted."""
        self.vendor = vendor
        self._folder = folder
        self._server = postgres.start(options=postgres.SURVIVES_CRASHES) if vendor == "postgres" else None
        self.disk: SmallDisk | None = None
        if small_disk:
            self.crash()
            self.disk = SmallDisk(self._server.folder / "data" if self._server else folder)
            self.start_again()

    @property
    def settings(self) -> dict[str, str]:
        """The environment that names it."""
        return {"DATABASE_URL": self._server.url} if self._server else {}

    def crash(self) -> None:
        """Stop a PostgreSQL at once, in the middle of whatever it does."""
        if self._server:
            self._server.crash()

    def start_again(self) -> None:
        """Serve again after a crash; what was committed is there."""
        if self._server:
            self._server = self._server.start_again()

    def come_back(self) -> None:
        """Serve again where a full disk has ended a PostgreSQL for good."""
        if self._server and self._server.process.poll() is not None:
            self.start_again()

    def save(self, place: Path) -> None:
        """Copy everything that was committed so far to ``place``; a PostgreSQL is away meanwhile."""
        if self._server is None:
            with closing(sqlite3.connect(self.file)) as source, closing(sqlite3.connect(place)) as copy:
                source.backup(copy)
            return
        self.crash()
        _copy(self._server.folder / "data", place)
        self.start_again()

    def put_back(self, place: Path) -> None:
        """Hold what was saved and nothing that came later; whoever has an SQLite open must be gone before."""
        if self._server is None:
            for name in (self.file, *self.file.parent.glob(f"{self.file.name}-*")):
                name.unlink()
            shutil.copy(place, self.file)
            return
        self.crash()
        shutil.rmtree(self._server.folder / "data")
        _copy(place, self._server.folder / "data")
        self.start_again()

    @property
    def file(self) -> Path:
        """Where SQLite keeps everything."""
        return self._folder / "worlds.sqlite3"

    def stop(self) -> None:
        """End it and remove what it wrote."""
        if self.disk is not None:
            self.crash()
            self.disk.unmount()
        if self._server:
            self._server.stop()


class Servers:
    """Everything that the product needs, and nothing that anyone else uses."""

    def __init__(self, folder: Path, vendor: str, *, small_disk: bool = False) -> None:
        """Start database and Valkey."""
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir()
        self.database = Database(vendor, self.data, small_disk=small_disk)
        self.cache = Cache(folder / "valkey")

    def take_over_environment(self) -> None:
        """Let the settings of this process, and of all that it starts, name these servers only."""
        for name in [name for name in os.environ if name.startswith("QW_")]:
            del os.environ[name]
        os.environ.pop("DATABASE_URL", None)
        os.environ.update(
            {
                "DJANGO_SETTINGS_MODULE": "qmtl_worlds.settings",
                "QW_DATA_DIR": str(self.data),
                "QW_HTTPS": "0",
                "QW_LOG_FORMAT": "json",
                "QW_LOG_LEVEL": "WARNING",
                "QW_NO_BOOTSTRAP": "1",
                "QW_TIME_SCALE": str(TIME_SCALE),
                "QW_DATABASE_POOL_SIZE": "16",
                "QW_REDIS_TIMEOUT_MS": "300",
                "REDIS_URL": self.cache.url,
                "OPENBLAS_NUM_THREADS": "1",
                **self.database.settings,
            }
        )

    def stop(self) -> None:
        """End everything."""
        self.cache.stop()
        self.database.stop()


def _copy(source: Path, target: Path) -> None:
    """Copy a folder with its owners, which ``shutil`` does not keep."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)  # noqa: S603, S607 - our own folders


@contextmanager
def servers(vendor: str, *, small_disk: bool = False) -> Iterator[Servers]:
    """Yield new servers in a folder that is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="qw-torture-"))
    running = None
    try:
        running = Servers(folder, vendor, small_disk=small_disk)
        yield running
    finally:
        if running is not None:
            running.stop()
        if not os.environ.get("TORTURE_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Return a port of the loopback that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
