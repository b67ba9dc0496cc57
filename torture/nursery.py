"""A process that has imported the product and forks children of it: real processes, each in a few milliseconds.

    python -m torture.nursery '{"folder": "...", "worlds": [], "mutants": []}'

It reads orders (JSON lines) on its standard input and answers on its standard output: which child has which process id,
what children tell, how they ended. Children open their own connections; the nursery has none. They die with it.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import random
import selectors
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

import django
from django.utils.module_loading import import_string

from qmtl_worlds import failpoints

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
CRASHED: Final = 70
"""The exit code of a child that raised."""
Tell = Callable[[dict[str, Any]], None]
Play = Callable[[str, Tell, Mapping[str, Any]], None]


class Nursery:
    """Forks children on order and tells how they end, until its standard input closes."""

    def __init__(self, folder: Path, play: Play) -> None:
        """Keep what children print in ``folder``; ``play`` is what they live for."""
        self._folder, self._play = folder, play
        self._numbers: dict[int, int] = {}
        self._unread = b""

    def run(self) -> None:
        """Serve orders until there are no more; then end every child."""
        woken, wake = os.pipe()
        for end in (woken, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        waiting = selectors.DefaultSelector()
        waiting.register(0, selectors.EVENT_READ)
        waiting.register(woken, selectors.EVENT_READ)
        tell({"ready": os.getpid()})
        while True:
            ready = {key.fd for key, _ in waiting.select()}
            if woken in ready:
                os.read(woken, 4096)
                self._reap()
            if 0 in ready and not self._serve():
                break
        for process_id in self._numbers:
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)

    def _serve(self) -> bool:
        """Obey what has come in; False where the input has ended."""
        data = os.read(0, 65536)
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._fork(json.loads(line))
        return bool(data)

    def _fork(self, order: Mapping[str, Any]) -> None:
        process_id = os.fork()
        if process_id == 0:
            _live(order, self._folder, self._play)
        self._numbers[process_id] = order["number"]
        tell({"number": order["number"], "process_id": process_id})

    def _reap(self) -> None:
        while self._numbers:
            process_id, status, usage = os.wait4(-1, os.WNOHANG)
            if process_id == 0:
                return
            number = self._numbers.pop(process_id, None)
            tell({"number": number, "ended": os.waitstatus_to_exitcode(status), "cpu": usage.ru_utime + usage.ru_stime})


def tell(fact: Mapping[str, Any], *, to: int = 1) -> None:
    """Write one line; lines of at most a page are never mixed with those of other processes."""
    os.write(to, json.dumps(fact).encode() + b"\n")


def _live(order: Mapping[str, Any], folder: Path, play: Play) -> NoReturn:
    """Be a child: settle in, play the role, end without any of the parent's cleaning up."""
    code = CRASHED
    try:
        report = _settle(order, folder)
        number = order["number"]
        play(order["role"], lambda fact: tell({"number": number, "told": fact}, to=report), order)
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0
    finally:  # whatever it was, a child never goes on as a nursery
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)


def _settle(order: Mapping[str, Any], folder: Path) -> int:
    """Make a fork a process of its own; return where it reports."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _LIBC.prctl(_PR_SET_NAME, f"qw-{order['role']}".encode())
    os.setsid()
    report = os.dup(1)
    log = os.open(folder / f"{order['role']}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    random.seed(order["number"])
    os.environ.update(order["environment"])
    failpoints.arm(order["failpoints"], log=folder / "failpoints.log")
    return report


if __name__ == "__main__":
    django.setup()
    order = json.loads(sys.argv[1])
    import_string("torture.mutants.mutate")(order["mutants"])
    import_string("torture.roles.warm_up")(order["worlds"])
    gc.freeze()  # what was made so far is never looked at again, so children share its pages
    Nursery(Path(order["folder"]), import_string("torture.roles.play")).run()
