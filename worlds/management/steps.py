"""Run the parts of a check as processes of their own, and say how long each took."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from django.conf import settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command; ``environment`` is added to this process's."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a step; ``output`` is empty where it went straight to the terminal."""

    name: str
    code: int
    seconds: float
    output: str = ""

    @property
    def passed(self) -> bool:
        """Whether the command ended with 0."""
        return self.code == 0

    def __str__(self) -> str:
        """Return one line for the table at the end."""
        return f"{self.name:<28} {'ok' if self.passed else f'failed ({self.code})':<12} {self.seconds:6.1f} s"


def run_quietly(steps: Sequence[Step], *, at_once: int) -> list[Outcome]:
    """Run steps side by side and keep what they print; the outcomes come in the order of the steps."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda step: _run(step, keep_output=True), steps))


def run_side_by_side(steps: Sequence[Step], *, tell: Callable[[str], object]) -> list[Outcome]:
    """Run steps at once, and tell each line as it comes, behind the name of its step."""
    with ThreadPoolExecutor(len(steps)) as pool:
        return list(pool.map(lambda step: _relay(step, tell), steps))


def run_aloud(step: Step) -> Outcome:
    """Run one step that prints to the terminal itself."""
    return _run(step, keep_output=False)


def _relay(step: Step, tell: Callable[[str], object]) -> Outcome:
    started = time.monotonic()
    with subprocess.Popen(  # noqa: S603 - the commands are ours
        step.command,
        cwd=settings.BASE_DIR,
        env={**os.environ, **step.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as running:
        for line in running.stdout or ():
            tell(f"{step.name} | {line}")
    return Outcome(name=step.name, code=running.returncode, seconds=time.monotonic() - started)


def _run(step: Step, *, keep_output: bool) -> Outcome:
    started = time.monotonic()
    done = subprocess.run(  # noqa: S603 - the commands are ours
        step.command,
        cwd=settings.BASE_DIR,
        env={**os.environ, **step.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if keep_output else None,
        stderr=subprocess.STDOUT if keep_output else None,
        check=False,
    )
    output = done.stdout.decode(errors="replace") if keep_output else ""
    return Outcome(name=step.name, code=done.returncode, seconds=time.monotonic() - started, output=output)
