"""The order gate: asks the server in the background, answers orders at once from memory, closes by itself."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Protocol, Self

from qmtl_worlds.contracts.errors import WorldsError
from qmtl_worlds.contracts.ids import Side
from qmtl_worlds.contracts.lease import MAX_LEASE_MS
from qmtl_worlds.sdk.errors import ReplyInvalidError, SdkError
from qmtl_worlds.sdk.permission import ActivationReading, Permission, no_permission, renew
from qmtl_worlds.sdk.verdict import GateRules, GateStatus, Verdict

POLLS_PER_LEASE: Final = 3
IDLE_POLL_SECONDS: Final = 1.0
"""How often to ask, at least, while no lease comes back."""
MIN_POLL_SECONDS: Final = 0.05
DEFAULT_RULES: Final = GateRules()

_log = logging.getLogger(__name__)


class ActivationSource(Protocol):
    """Where activations come from; ``WorldsClient`` is one."""

    def activation(
        self, world_id: str, strategy_id: str, side: str, *, known_etag: str | None = None
    ) -> ActivationReading:
        """Ask once; an answer for another instance, or one that cannot be read, is an error."""
        ...

    def close(self) -> None:
        """Close the calling thread's connection."""
        ...


class OrderGate:
    """A gate for the orders of one strategy; closed until proven open, and again when the proof is too old.

    ``check`` never waits: it compares the monotonic clock with the lease of the last good answer. ``start`` runs a
    daemon thread that asks at a third of the lease; ``poll`` does the same once, for callers with a loop of their own.
    Only one of the two may be used, from one thread; any number of threads may call ``check``.
    """

    def __init__(
        self,
        source: ActivationSource,
        *,
        world_id: str,
        strategy_id: str,
        sides: Iterable[str] = (Side.LONG, Side.SHORT),
        rules: GateRules = DEFAULT_RULES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare a closed gate for the given sides."""
        self._source = source
        self._world_id = world_id
        self._strategy_id = strategy_id
        self._rules = rules
        self._monotonic = monotonic
        self._shut = no_permission(rules)
        self._held = {Side(side).value: self._shut for side in sides}
        self._failure: str | None = None
        self._pause_seconds = IDLE_POLL_SECONDS
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def check(self, side: str, *, reduces: bool | None = None) -> Verdict:
        """Judge an order of ``side``; ``reduces=None`` (not known) counts as increasing risk.

        A side the gate was not made for is closed. Takes no lock and does no I/O.
        """
        try:
            held = self._held[side]
        except KeyError:
            held = self._shut
        if self._monotonic() < held.deadline:
            return held.exit if reduces is True else held.entry
        return held.late_exit if reduces is True else held.late_entry

    @property
    def status(self) -> GateStatus:
        """Return the state of the worst informed side."""
        now = self._monotonic()
        if all(now < held.deadline for held in self._held.values()):
            return GateStatus.READY
        if self._failure is not None:
            return GateStatus.ERROR
        known = all(held.activation is not None for held in self._held.values())
        return GateStatus.STALE if known else GateStatus.NOT_READY

    @property
    def failure(self) -> str | None:
        """Return what went wrong at the last poll, None where nothing did."""
        return self._failure

    def poll(self) -> float:
        """Ask once for every side and return after how many seconds to ask again.

        Whatever goes wrong renews nothing: the lease of the last good answer runs on and ends.
        """
        failure = None
        leases = []
        for side, held in self._held.items():
            try:
                reading = self._ask(side, held)
            except (SdkError, WorldsError) as error:
                failure = f"{type(error).__name__}: {error}"
                continue
            self._held = {**self._held, side: renew(held, reading, rules=self._rules)}
            leases.append(reading.lease_ms)
        self._failure = failure
        if all(held.activation is not None for held in self._held.values()):
            self._ready.set()
        self._pause_seconds = _pause_seconds(leases, before=self._pause_seconds)
        return self._pause_seconds

    def start(self) -> Self:
        """Start asking in the background; the gate stays closed until the first answer."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name=f"order-gate-{self._strategy_id}", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """Stop asking and close at once; waits for a question that is under way."""
        if self._thread is not None:
            self._stopping.set()
            self._thread.join()
            self._thread = None
        self._held = dict.fromkeys(self._held, self._shut)
        self._ready.clear()

    def wait_until_ready(self, timeout_seconds: float) -> bool:
        """Wait until every side has had a good answer; tell whether that came in time."""
        return self._ready.wait(timeout_seconds)

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _ask(self, side: str, held: Permission) -> ActivationReading:
        known = held.activation
        reading = self._source.activation(
            self._world_id, self._strategy_id, side, known_etag=known.etag if known else None
        )
        if (answer := reading.envelope) is not None:
            told = (answer.world_id, answer.strategy_id, answer.side.value)
            if told != (self._world_id, self._strategy_id, side):
                raise ReplyInvalidError(f"asked about {self._strategy_id} {side}, told about {told}")
        return reading

    def _run(self) -> None:
        try:
            while not self._stopping.wait(self._poll_safely()):
                pass
        finally:
            self._source.close()

    def _poll_safely(self) -> float:
        """Poll; a defect must not end the thread silently, and it renews nothing."""
        try:
            return self.poll()
        except Exception as error:  # noqa: BLE001 - the thread must live on; it logs
            _log.exception("The order gate of %s could not ask", self._strategy_id)
            self._failure = f"{type(error).__name__}: {error}"
            return self._pause_seconds


def _pause_seconds(leases: Sequence[float], *, before: float) -> float:
    """Return a third of the shortest lease; without one, the pause before, but never a long one."""
    shortest = min((lease for lease in leases if 0 < lease <= MAX_LEASE_MS), default=None)
    if shortest is None:
        return min(before, IDLE_POLL_SECONDS)
    return max(MIN_POLL_SECONDS, shortest / 1000 / POLLS_PER_LEASE)
