"""Named points at which a test can make this very process die, stop or wait; they do nothing unless armed.

``QW_FAILPOINTS`` names points and what happens there, for instance

    advance.after_commit/frozen=kill:2;project.before_lua=delay:1.5

kills the process (SIGKILL, nothing is cleaned up) when it reaches the first point for the second time, and makes it
sleep 1.5 s each time it reaches the other one. Actions are ``kill``, ``stop`` (SIGSTOP) and ``delay:<seconds>``; a last
``:<n>`` limits them to the n-th time. A point without its ``/detail`` stands for all details. Armed points are refused
unless ``QW_FAILPOINTS_ALLOWED`` is 1 as well, and ``check --deploy`` warns of them.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qmtl_worlds.contracts.states import RunState

_STATES: Final = tuple(state.value for state in RunState if state is not RunState.REQUESTED)

POINTS: Final[Mapping[str, tuple[str, ...]]] = {
    "request.before_commit": (),
    "request.after_commit": (),
    "approve.before_commit": (),
    "approve.after_commit": (),
    "advance.before_claim": (),
    "advance.after_claim": (),
    "advance.before_audit": _STATES,
    "advance.before_commit": _STATES,
    "advance.after_commit": _STATES,
    "advance.between_steps": (),
    "switch.set_inserted": (),
    "switch.entries_inserted": (),
    "rollback.before_commit": (),
    "rollback.after_commit": (),
    "hold.before_commit": ("freeze", "unfreeze"),
    "hold.after_commit": ("freeze", "unfreeze"),
    "kill.before_commit": (),
    "kill.after_commit": (),
    "evaluate.before_commit": (),
    "evaluate.after_commit": (),
    "project.before_time": (),
    "project.before_rows": (),
    "project.before_lua": (),
    "project.after_lua": (),
    "relay.before_publish": (),
    "relay.after_publish": (),
    "tick.before": ("advance", "expire", "claim", "evaluations", "projection", "relay", "end"),
}
"""Every point of the product, and the details that it is reached with."""


class FailpointError(ValueError):
    """Points are armed that do not exist, in a way that means nothing, or without leave."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at a point: ``kill``, ``stop`` or ``delay``; at the ``nth`` time only, 0 for each time."""

    action: str
    seconds: float = 0.0
    nth: int = 0


class _Armed:
    """The points that are armed in this process; empty costs one truth test a point."""

    def __init__(self) -> None:
        self.faults: dict[str, Fault] = {}
        self.seen: Counter[str] = Counter()
        self.log: Path | None = None


_ARMED: Final = _Armed()


def reach(point: str, detail: str = "") -> None:
    """Let happen what is armed for this point; nothing is, outside tests."""
    if _ARMED.faults:
        _reached(point, detail)


def every_point() -> tuple[str, ...]:
    """Return the full names of all points, in the order of ``POINTS``."""
    return tuple(
        f"{point}/{detail}" if detail else point for point, details in POINTS.items() for detail in details or [""]
    )


def arm(spec: str, *, log: Path | None = None) -> None:
    """Arm the points that ``spec`` names, and no others; each fault is told in ``log`` before it happens.

    Raises:
        FailpointError: there is no such point, or what should happen cannot be read.
    """
    faults = dict(_read(part) for part in spec.split(";") if part.strip())
    _ARMED.faults, _ARMED.log = faults, log
    _ARMED.seen.clear()


def armed_points() -> tuple[str, ...]:
    """Return the names that are armed in this process."""
    return tuple(_ARMED.faults)


def _reached(point: str, detail: str) -> None:
    for name in (f"{point}/{detail}", point):
        fault = _ARMED.faults.get(name)
        if fault is not None:
            _ARMED.seen[name] += 1
            if fault.nth in {0, _ARMED.seen[name]}:
                _happen(fault, f"{point}/{detail}" if detail else point)


def _happen(fault: Fault, where: str) -> None:
    if _ARMED.log is not None:
        line = f"{time.monotonic():.6f} {os.getpid()} {fault.action} {where}\n"
        with _ARMED.log.open("ab", buffering=0) as log:
            log.write(line.encode())
    if fault.action == "delay":
        time.sleep(fault.seconds)
    else:
        os.kill(os.getpid(), signal.SIGKILL if fault.action == "kill" else signal.SIGSTOP)


def _read(part: str) -> tuple[str, Fault]:
    name, _, what = part.strip().partition("=")
    point, _, detail = name.partition("/")
    if point not in POINTS or (detail and detail not in POINTS[point]):
        raise FailpointError(f"There is no failpoint {name!r}.")
    action, *rest = what.split(":")
    try:
        if action == "delay":
            return name, Fault(action, float(rest[0]), int(rest[1]) if rest[1:] else 0)
        if action in {"kill", "stop"}:
            return name, Fault(action, nth=int(rest[0]) if rest else 1)
    except (IndexError, ValueError):
        pass
    raise FailpointError(f"What should happen at {name} is unclear: {what!r}.")


def _arm_from_environment() -> None:
    spec = os.environ.get("QW_FAILPOINTS", "").strip()
    if not spec:
        return
    if os.environ.get("QW_FAILPOINTS_ALLOWED") != "1":
        raise FailpointError("QW_FAILPOINTS is set; where that is meant, set QW_FAILPOINTS_ALLOWED=1 too.")
    log = os.environ.get("QW_FAILPOINTS_LOG")
    arm(spec, log=Path(log) if log else None)


_arm_from_environment()
