"""The order gate: hears of changes in the background, answers orders at once from memory, closes by itself."""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from types import TracebackType
from typing import Final, Protocol, Self, runtime_checkable
from weakref import WeakSet

from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.contracts.errors import WorldsError
from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.sdk.boundary import guarded
from qmtl_worlds.sdk.errors import GateSettingsError, SdkError
from qmtl_worlds.sdk.hearing import Book
from qmtl_worlds.sdk.local_gate import LocalGate, first_poll_seconds
from qmtl_worlds.sdk.messenger import Messenger, OnFlatten
from qmtl_worlds.sdk.permission import ActivationReading
from qmtl_worlds.sdk.session import JsonObject
from qmtl_worlds.sdk.stream import EventStream
from qmtl_worlds.sdk.verdict import GateRules

DEFAULT_RULES: Final = GateRules()

_log = logging.getLogger(__name__)


class ActivationSource(Protocol):
    """Where activations come from; ``WorldsClient`` is one."""

    def activation(
        self,
        world_id: str,
        strategy_id: str,
        side: str,
        *,
        known_etag: str | None = None,
        client_id: str | None = None,
    ) -> ActivationReading:
        """Ask once; an answer for another instance, or one that cannot be read, is an error."""
        ...

    def close(self) -> None:
        """Close the calling thread's connection."""
        ...


@runtime_checkable
class StreamSource(ActivationSource, Protocol):
    """A source that streams too, and takes acknowledgements; ``WorldsClient`` is one."""

    def open_stream(
        self, world_id: str, strategy_id: str, *, client_id: str | None = None, last_seen: Position | None = None
    ) -> EventStream:
        """Connect and ask for the stream."""
        ...

    def acknowledge(
        self, world_id: str, *, client_id: str, heard: Position, flat: Sequence[InstanceKey] = ()
    ) -> JsonObject:
        """Say how far was heard, and what is flat."""
        ...

    def lease_seconds(self, world_id: str) -> float:
        """Return the lease of a world."""
        ...


class OrderGate(LocalGate):
    """A gate for the orders of one strategy; closed until proven open, and again when the proof is too old.

    ``check`` never waits: it compares the monotonic clock with the lease of what was heard last. ``start`` runs a
    daemon thread that listens to the stream and, while there is none, asks at a third of the lease. ``poll`` asks once,
    for callers with a loop of their own. Only one of the two may be used, from one thread. A process that forks has
    closed gates in its child; make new ones there.
    """

    def __init__(
        self,
        source: ActivationSource,
        *,
        world_id: str,
        strategy_id: str,
        sides: Iterable[str] = (Side.LONG, Side.SHORT),
        rules: GateRules = DEFAULT_RULES,
        monotonic: Callable[[], float] = boot_time,
    ) -> None:
        """Prepare a closed gate for the given sides."""
        super().__init__(world_id=world_id, strategy_id=strategy_id, sides=sides, rules=rules, monotonic=monotonic)
        self._source = source
        self._live = source if isinstance(source, StreamSource) else None
        self._on_flatten: OnFlatten | None = None
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._stream: EventStream | None = None
        self._messenger: Messenger | None = None
        _GATES.add(self)

    def on_flatten(self, callback: OnFlatten) -> Self:
        """Have ``callback`` told, once for each wait, of an instance whose position the server wants closed.

        It is called on a thread of its own. Close the position, then ``acknowledge_flat``. Before ``start`` only.
        """
        self._on_flatten = callback
        return self

    def acknowledge_flat(self, *sides: str) -> JsonObject:
        """Say that the positions of these sides, all of the gate's where none is named, are closed.

        Returns ``released``, the waits that are over, and ``waiting``, those that began after what the gate has heard:
        say it again later. May be said twice.

        Raises:
            WorldsError: the server refused.
            SdkError: it cannot be reached, or the gate has not heard anything yet.
        """
        heard = self.position
        if self._live is None or heard is None:
            raise SdkError("nothing was heard from the server yet, so nothing can be acknowledged")
        flat = self._instances(sides)
        return self._live.acknowledge(self._world_id, client_id=self.client_id, heard=heard, flat=flat)

    def poll(self) -> float:
        """Ask once for every side and return after how many seconds to ask again.

        Whatever goes wrong renews nothing: the lease of the last good answer runs on and ends.
        """
        failure = None
        leases = []
        for side in self._held:
            try:
                reading = self._source.activation(
                    self._world_id,
                    self._strategy_id,
                    side,
                    known_etag=self._known_etag(side),
                    client_id=self.client_id,
                )
                leases.append(self._answered(side, reading))
            except (SdkError, WorldsError) as error:
                failure = f"{type(error).__name__}: {error}"
        return self._polled(leases, failure)

    def start(self) -> Self:
        """Start listening in the background; the gate stays closed until the first answer."""
        if self._thread is None:
            self._ending = False
            self._ready, self._stopping = threading.Event(), threading.Event()
            if self._live is not None:
                self._messenger = Messenger(
                    self._acknowledge,
                    close=self._source.close,
                    on_flatten=self._on_flatten,
                    name=f"order-gate-word-{self._strategy_id}",
                )
                self._messenger.start()
            self._thread = threading.Thread(target=self._run, name=f"order-gate-{self._strategy_id}", daemon=True)
            self._thread.start()
        return self

    def request_stop(self) -> None:
        """Close at once and let the thread end by itself.

        Takes no lock that an interrupted caller may hold, so a signal handler may call it.
        """
        if self._ending:
            return
        self._ending = True
        self._shut_all()
        self._stopping.set()
        if (stream := self._stream) is not None:
            stream.abort()

    def stop(self) -> None:
        """Stop listening and close at once; waits for the thread, which may be in the middle of a question."""
        self.request_stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None
        self._shut_all()

    def wait_until_ready(self, timeout_seconds: float) -> bool:
        """Wait until every side has had a good answer; tell whether that came in time."""
        return self._ready.wait(timeout_seconds) and not self._ending

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _hold(self, book: Book) -> None:
        super()._hold(book)
        if all(held.activation is not None for held in book.values()):
            self._ready.set()
        if self._messenger is not None:
            self._messenger.tell(self.position, book)

    def _acknowledge(self, position: Position) -> None:
        if self._live is not None:
            self._live.acknowledge(self._world_id, client_id=self.client_id, heard=position)

    def _run(self) -> None:
        """Listen; between two connections, and where there is no stream, ask."""
        try:
            while not self._ending and self._goes_with_the_world():
                pause = guarded(self._listen_and_tell, what=f"Listening for {self._strategy_id}", failed=self._defect)
                self._poll_until(self._monotonic() + pause)
        finally:
            self._source.close()
            if self._messenger is not None:
                self._messenger.stop()

    def _goes_with_the_world(self) -> bool:
        """Tell whether the settings may be used; they are looked at before the first answer is taken, and again."""
        if self._live is None or not self._rules.line.needs_lease:
            return True
        try:
            self._rules.line.check(self._live.lease_seconds(self._world_id))
        except GateSettingsError as error:
            _log.error("The order gate of %s stays closed: %s", self._strategy_id, error)
            self._failed(error)
            return False
        except (SdkError, WorldsError) as error:
            self._failed(error)
        return True

    def _listen_and_tell(self) -> float:
        """Hear one stream to its end and return after how long to try the next one."""
        if self._live is None or not self._rules.line.stream:
            return float("inf")
        hearing = None
        try:
            with closing(self._open(self._live)) as stream:
                hearing = self._listening(stream.sent_at)
                while not self._ending:
                    self._take_in(hearing, stream.read(self._patience_seconds()))
        except (SdkError, WorldsError) as error:
            self._failed(error)
        self._stream = None
        return self._away_seconds(hearing)

    def _open(self, live: StreamSource) -> EventStream:
        self._stream = stream = live.open_stream(
            self._world_id, self._strategy_id, client_id=self.client_id, last_seen=self._last_seen()
        )
        if self._ending:  # asked to between the two
            stream.abort()
        return stream

    def _poll_until(self, at: float) -> None:
        pause = first_poll_seconds(self._pause_seconds, spread=random.random) if at < float("inf") else 0.0
        while not self._stopping.wait(min(pause, max(0.0, at - self._monotonic()))) and self._monotonic() < at:
            pause = guarded(self.poll, what=f"Asking for {self._strategy_id}", failed=self._defect)

    def _defect(self, error: Exception) -> float:
        """Note a defect; it renews nothing."""
        self._failed(error)
        return self._pause_seconds


_GATES: Final[WeakSet[OrderGate]] = WeakSet()


def _close_in_child() -> None:
    for gate in _GATES:
        gate._ending = True  # noqa: SLF001 - its thread did not come along
        gate._shut_all()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
