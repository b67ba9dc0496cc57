"""Real Runner processes: alphas that ask their order gate before each order, at the pace of the story."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from qmtl_worlds.contracts.ids import InstanceKey

ASKED_AGAIN_SECONDS: Final = 0.5
"""How long until a gate with the demonstration's lease has certainly asked the server again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a Runner runs, and as whom it asks."""

    base: Path
    server: str
    token_file: Path
    logs: Path


class RunnerProcess:
    """Runs ``strategies.alpha.run`` for one instance for the length of a ``with`` block."""

    def __init__(self, place: Place, world_id: str, key: InstanceKey) -> None:
        """Keep what to run; nothing starts before the block is entered."""
        self._command = [
            *(sys.executable, "-m", "strategies.alpha.run", "--server", place.server),
            *("--token-file", str(place.token_file), "--world", world_id),
            *("--strategy-id", key.strategy_id, "--side", key.side.value, "--venue-mode", "replay", "--stdin"),
        ]
        self._base = place.base
        self._log = place.logs / f"runner-{key.strategy_id}-{key.side.value}.log"
        self._process: subprocess.Popen[str] | None = None
        self._output: IO[str] | None = None

    def __enter__(self) -> Self:
        """Start the process."""
        self._output = self._log.open("w", encoding="utf-8")
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            self._command, cwd=self._base, stdin=subprocess.PIPE, stdout=self._output, stderr=self._output, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the process end by itself, now that no more days come."""
        if self._process is not None:
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process.wait(timeout=30)
        if self._output is not None:
            self._output.close()

    def trade(self, days: Iterable[date]) -> None:
        """Let it trade these sessions, once its gate has heard of the present state."""
        if self._process is None or self._process.stdin is None:
            raise RuntimeError("the Runner is not running")
        time.sleep(ASKED_AGAIN_SECONDS)
        self._process.stdin.writelines(f"{day.isoformat()}\n" for day in days)
        self._process.stdin.flush()

    def turns(self, *, most: int) -> list[str]:
        """Return who it is, how many orders it asked about, and the first answers that differ from the one before."""
        who, *orders = self._log.read_text(encoding="utf-8").splitlines() or ["printed nothing"]
        answers = [line.partition(": ")[2] for line in orders]
        turns = [line for line, answer, last in zip(orders, answers, ["", *answers], strict=False) if answer != last]
        return [f"{who}, {len(orders)} orders asked", *(f"  {line}" for line in turns[:most])]
