"""Make ``.venv`` from the hash-pinned lock and go on inside it.

Standard library only: it runs on a bare machine that has Python and pip, before anything is installed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
RUNTIME_LOCK = ROOT / "requirements.lock"
TEST_LOCK = ROOT / "requirements-test.lock"
MARKER = ENVIRONMENT / "qmtl-worlds.installed"
OPT_OUT = "QW_NO_BOOTSTRAP"
TEST_COMMANDS = frozenset({"test", "check_code"})
OLDEST_PYTHON = (3, 11)

LAUNCHER = """#!{python}
import sys
sys.path.insert(0, {root!r})
from qmtl_worlds.cli import main
sys.exit(main())
"""


def enter(argv: Sequence[str]) -> None:
    """Return once this process runs inside an up-to-date ``.venv``.

    ``argv`` is the whole command line, script first; a process outside the environment is replaced
    by the same command inside it. Two starts at the same time prepare it once. Nothing happens when
    the environment variable ``QW_NO_BOOTSTRAP`` is ``1`` (containers bring their own packages).

    Raises:
        SystemExit: Python is too old, or the packages cannot be installed.
    """
    if os.environ.get(OPT_OUT) == "1":
        return
    if sys.version_info < OLDEST_PYTHON:
        raise SystemExit(f"QMTL Worlds needs Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer.")
    lock = wanted_lock(argv[1:2])
    installed_now = not is_installed(lock)
    if installed_now:
        with _only_one_at_a_time():
            prepare(lock)
    if installed_now or Path(sys.prefix).resolve() != ENVIRONMENT.resolve():
        python = str(_python())
        os.execv(python, [python, *argv])


def wanted_lock(command: Sequence[str]) -> Path:
    """Name the lock that a command needs.

    The test lock holds everything of the runtime lock, so an environment made from it keeps it.
    """
    if TEST_COMMANDS.intersection(command) or _marker().startswith(TEST_LOCK.name):
        return TEST_LOCK
    return RUNTIME_LOCK


def is_installed(lock: Path) -> bool:
    """Tell whether ``.venv`` was completed from exactly this lock and its Python still exists."""
    return _python().exists() and _marker() == _marker_for(lock)


def prepare(lock: Path) -> None:
    """Install ``lock`` into ``.venv``; a no-op when another start has just done so."""
    if is_installed(lock):
        return
    started = time.monotonic()
    _say("Preparing the Python environment (first run, about 30 s) ...")
    MARKER.unlink(missing_ok=True)
    if not _python().exists():
        venv.EnvBuilder(clear=True, symlinks=True, with_pip=False).create(ENVIRONMENT)
    if not (_install_with_uv(lock) or _install_with_pip(lock)):
        raise SystemExit(
            f"The packages of {lock.name} could not be installed; the lines above say why. "
            "This needs pip (Debian: apt-get install python3-pip) or uv on PATH, and a package index."
        )
    _write_launcher()
    MARKER.write_text(_marker_for(lock), encoding="utf-8")
    _say(f"Preparing the Python environment: done in {time.monotonic() - started:.0f} s.")


@contextlib.contextmanager
def _only_one_at_a_time() -> Iterator[None]:
    with (ROOT / ".venv.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _install_with_uv(lock: Path) -> bool:
    uv = _find_uv() or _fetch_uv(lock)
    if uv is None:
        return False
    return _run([uv, "pip", "install", "--quiet", "--python", str(_python()), "--require-hashes", "-r", str(lock)])


def _install_with_pip(lock: Path) -> bool:
    """Install without uv: slower, but follows every setting of pip, such as a mirror."""
    return _run([*_pip(), "install", "--quiet", "--require-hashes", "-r", str(lock)])


def _find_uv() -> str | None:
    own = _python().with_name("uv")
    return str(own) if own.exists() else shutil.which("uv")


def _fetch_uv(lock: Path) -> str | None:
    """Install the locked uv alone; there is none where its project builds no wheel."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as requirement:
        requirement.write(locked_block(lock, "uv"))
        requirement.flush()
        wheel_only = ["--only-binary", ":all:", "--require-hashes", "-r", requirement.name]
        return _find_uv() if _run([*_pip(), "install", "--quiet", *wheel_only]) else None


def locked_block(lock: Path, package: str) -> str:
    """Return the lines of one package of a lock: its pin and the hashes that follow."""
    kept: list[str] = []
    inside = False
    for line in lock.read_text(encoding="utf-8").splitlines():
        if not line.startswith(" "):
            inside = line.startswith(f"{package}==")
        if inside:
            kept.append(line)
    return "\n".join(kept) + "\n"


def _pip() -> list[str]:
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(_python())]


def _run(command: Sequence[str]) -> bool:
    return subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode == 0


def _python() -> Path:
    return ENVIRONMENT / "bin" / "python"


def _marker() -> str:
    try:
        return MARKER.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _marker_for(lock: Path) -> str:
    return f"{lock.name} {hashlib.sha256(lock.read_bytes()).hexdigest()}\n"


def _write_launcher() -> None:
    """Put the command ``qmtl-worlds`` beside the environment's Python."""
    launcher = _python().with_name("qmtl-worlds")
    launcher.write_text(LAUNCHER.format(python=_python(), root=str(ROOT)), encoding="utf-8")
    launcher.chmod(0o755)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
