"""Keep a set of programs running: start them in order, restart what ends, stop all of them cleanly.

    with Supervisor(programs, log_folder=folder) as supervisor:   # returns once every program is ready
        ...
        supervisor.wait()                                         # until SIGINT or SIGTERM

One thread starts and watches everything, because a child dies with the thread that started it.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from qmtl_worlds.embedded.process import LaunchError, spawn, stop, wait_until_ready

_POLL_SECONDS = 0.05
_WAIT_SECONDS = 0.5


_SignalHandler = Callable[[int, FrameType | None], object] | int | None


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One supervised program; ``environment`` is added to the supervisor's own."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    is_ready: Callable[[], bool] = _always
    ready_within_seconds: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Seconds to wait before a restart: doubled each time, back to the first after a steady run."""

    first_seconds: float = 0.5
    longest_seconds: float = 15.0
    steady_after_seconds: float = 30.0

    def delay(self, restarts: int) -> float:
        """Return the wait before restart number ``restarts``, counted from 0."""
        return min(self.first_seconds * 2.0 ** min(restarts, 30), self.longest_seconds)


@dataclass(slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes]
    started_at: float
    restarts: int = 0
    restart_at: float | None = None


class Supervisor:
    """Runs programs for the length of a ``with`` block; each writes to ``<log_folder>/<name>.log``."""

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        log_folder: Path,
        backoff: Backoff | None = None,
        say: Callable[[str], object] = lambda _line: None,
    ) -> None:
        """Keep what to run; nothing starts before the block is entered. ``say`` hears of starts and restarts."""
        self._programs = tuple(programs)
        self._log_folder = log_folder
        self._backoff = backoff or Backoff()
        self._say = say
        self._children: list[_Child] = []
        self._ready = threading.Event()
        self._stopping = threading.Event()
        # Waited for in place of joining: a join that a signal interrupts takes the thread for ended.
        self._ended = threading.Event()
        self._failure: LaunchError | OSError | None = None
        self._old_handler: _SignalHandler = signal.SIG_DFL
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        """Start every program and wait until the last one is ready.

        Inside the block SIGTERM does what SIGINT does: ``KeyboardInterrupt`` in the main thread, so that
        the block ends by its own path.

        Raises:
            LaunchError: one could not be started; the others are stopped again.
        """
        self._log_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._old_handler = signal.signal(signal.SIGTERM, _interrupt)
        self._thread.start()
        try:
            self._ready.wait()
            self._raise_failure()
        except (KeyboardInterrupt, LaunchError, OSError):
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop every program, the last started first."""
        self._stop()

    def wait(self) -> None:
        """Return when this process is asked to end by SIGINT or SIGTERM; call it from the main thread.

        Raises:
            LaunchError: a program could not be started again.
        """
        with contextlib.suppress(KeyboardInterrupt):
            while not self._ended.wait(_WAIT_SECONDS):
                pass
            self._raise_failure()

    def log_of(self, name: str) -> Path:
        """Return where a program's output goes."""
        return self._log_folder / f"{name}.log"

    def process_ids(self) -> dict[str, int]:
        """Return the process id of each program by name; one that is waiting for its restart keeps its last."""
        return {child.program.name: child.process.pid for child in self._children}

    def _run(self) -> None:
        try:
            self._start_all()
            self._ready.set()
            while not self._stopping.wait(_POLL_SECONDS):
                for child in self._children:
                    self._watch(child)
        except (LaunchError, OSError) as error:
            self._failure = error
        finally:
            for child in reversed(self._children):
                stop(child.process)
            self._ended.set()
            self._ready.set()

    def _start_all(self) -> None:
        for program in self._programs:
            log = self.log_of(program.name)
            log.write_bytes(b"")
            child = _Child(program, self._spawn(program), time.monotonic())
            self._children.append(child)
            self._say(f"Starting {program.name} ...")
            wait_until_ready(
                child.process, self._ready_or_stopping(program), log=log, within_seconds=program.ready_within_seconds
            )

    def _ready_or_stopping(self, program: Program) -> Callable[[], bool]:
        return lambda: self._stopping.is_set() or program.is_ready()

    def _watch(self, child: _Child) -> None:
        """Plan the restart of a child that ended, or do the planned one when its time has come."""
        now = time.monotonic()
        if child.restart_at is None and child.process.poll() is not None:
            stop(child.process)
            if now - child.started_at > self._backoff.steady_after_seconds:
                child.restarts = 0
            delay = self._backoff.delay(child.restarts)
            child.restart_at = now + delay
            self._say(f"{child.program.name} ended with code {child.process.returncode}; next start in {delay:.1f} s.")
        elif child.restart_at is not None and now >= child.restart_at:
            child.process = self._spawn(child.program)
            child.started_at, child.restart_at = now, None
            child.restarts += 1

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        return spawn(program.command, log=self.log_of(program.name), environment=program.environment)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._ended.is_set() and not self._stopping.is_set():
            raise LaunchError("The supervising thread ended; its error is above.")

    def _stop(self) -> None:
        self._stopping.set()
        self._ended.wait()
        signal.signal(signal.SIGTERM, self._old_handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
