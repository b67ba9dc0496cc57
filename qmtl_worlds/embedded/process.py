"""Start a child process that cannot outlive its parent, and stop it for certain."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_POLL_SECONDS = 0.01


class LaunchError(RuntimeError):
    """A program cannot be found, or ended before it was ready."""


@dataclass(frozen=True, slots=True)
class Account:
    """The system user that a child runs as."""

    user_id: int
    group_id: int


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    account: Account | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, its output appended to ``log``.

    On Linux the kernel sends it SIGTERM when the *thread* that called this ends, so call it from one that
    lives as long as the child should. ``environment`` is added to this process's.

    Raises:
        LaunchError: there is no such program, or it may not be run.
    """
    parent = os.getpid()

    def die_with_parent() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)

    with log.open("ab") as output:
        try:
            return subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                # The function makes two system calls and takes no lock, so a threaded parent may use it.
                preexec_fn=die_with_parent,  # noqa: PLW1509
                user=account.user_id if account else None,
                group=account.group_id if account else None,
                extra_groups=[] if account else None,
            )
        except OSError as error:
            raise LaunchError(f"{command[0]} cannot be started: {error.strerror}.") from error


def wait_until_ready(
    process: subprocess.Popen[bytes], is_ready: Callable[[], bool], *, log: Path, within_seconds: float = 120.0
) -> None:
    """Return as soon as ``is_ready`` says so.

    Raises:
        LaunchError: the process ended first, or the time is over; the message ends with the log's last lines.
    """
    deadline = time.monotonic() + within_seconds
    name = Path(str(process.args[0] if isinstance(process.args, list) else process.args)).name
    while not is_ready():
        if process.poll() is not None:
            raise LaunchError(f"{name} ended with code {process.returncode} at its start:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise LaunchError(f"{name} was not ready within {within_seconds:.0f} s:\n{tail(log)}")
        time.sleep(_POLL_SECONDS)


def stop(process: subprocess.Popen[bytes], *, grace_seconds: float = 10.0, ask: int = signal.SIGTERM) -> int:
    """End a process: first ask, then kill it and all it started. Returns its exit code."""
    if process.poll() is None:
        process.send_signal(ask)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def tail(log: Path, *, lines: int = 20) -> str:
    """Return the last lines of a log; empty when there is none."""
    try:
        content = log.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(content.splitlines()[-lines:])
