"""The order gate for programs on asyncio: the rules of ``OrderGate``, with tasks in place of threads."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import closing
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.contracts.errors import WorldsError
from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.sdk.episodes import FlatWatch
from qmtl_worlds.sdk.errors import GateSettingsError, SdkError
from qmtl_worlds.sdk.gate import DEFAULT_RULES
from qmtl_worlds.sdk.hearing import Book
from qmtl_worlds.sdk.local_gate import LocalGate, first_poll_seconds
from qmtl_worlds.sdk.messenger import ACK_RETRY_SECONDS, ACK_SECONDS
from qmtl_worlds.sdk.permission import ActivationReading
from qmtl_worlds.sdk.session import JsonObject
from qmtl_worlds.sdk.verdict import GateRules

OnFlattenAsync = Callable[[InstanceKey], Awaitable[object] | object]
"""Told of an instance whose position is to be closed; what it returns is awaited where it can be."""

T = TypeVar("T")
_log: Final = logging.getLogger(__name__)


class AsyncEventStream(Protocol):
    """Bytes of one stream, as they come."""

    @property
    def sent_at(self) -> float:
        """Return the monotonic time just before the request was sent."""
        ...

    async def read(self, timeout_seconds: float) -> bytes:
        """Wait for more and return it; empty at the end of the stream."""
        ...

    def close(self) -> None:
        """Close."""
        ...


class AsyncSource(Protocol):
    """Where activations come from; ``AsyncWorldsClient`` is one."""

    async def activation(
        self,
        world_id: str,
        strategy_id: str,
        side: str,
        *,
        known_etag: str | None = None,
        client_id: str | None = None,
    ) -> ActivationReading:
        """Ask once."""
        ...

    async def open_stream(
        self, world_id: str, strategy_id: str, *, client_id: str | None = None, last_seen: Position | None = None
    ) -> AsyncEventStream:
        """Connect and ask for the stream."""
        ...

    async def acknowledge(
        self, world_id: str, *, client_id: str, heard: Position, flat: Sequence[InstanceKey] = ()
    ) -> JsonObject:
        """Say how far was heard, and what is flat."""
        ...

    async def lease_seconds(self, world_id: str) -> float:
        """Return the lease of a world."""
        ...


class AsyncOrderGate(LocalGate):
    """A gate for the orders of one strategy, kept informed by tasks of the running loop.

    ``check`` never waits and may be called from anywhere. A loop that is blocked hears nothing: the gate closes when
    the lease ends, which it reads from the clock and not from the loop.
    """

    def __init__(
        self,
        source: AsyncSource,
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
        self._on_flatten: OnFlattenAsync | None = None
        self._watch = FlatWatch()
        self._acknowledged: Position | None = None
        self._ready = asyncio.Event()
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def on_flatten(self, callback: OnFlattenAsync) -> Self:
        """Have ``callback`` told, once for each wait, of an instance whose position the server wants closed."""
        self._on_flatten = callback
        return self

    async def acknowledge_flat(self, *sides: str) -> JsonObject:
        """Say that the positions of these sides are closed; as ``OrderGate.acknowledge_flat``."""
        if (heard := self.position) is None:
            raise SdkError("nothing was heard from the server yet, so nothing can be acknowledged")
        flat = self._instances(sides)
        return await self._source.acknowledge(self._world_id, client_id=self.client_id, heard=heard, flat=flat)

    async def poll(self) -> float:
        """Ask once for every side and return after how many seconds to ask again."""
        failure = None
        leases = []
        for side in self._held:
            try:
                reading = await self._source.activation(
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
        """Start listening on the running loop; the gate stays closed until the first answer."""
        if not self._tasks:
            self._ending = False
            self._ready.clear()
            names = {"listens": self._run(), "speaks": self._speak()}
            self._tasks = [
                asyncio.create_task(work, name=f"order-gate-{self._strategy_id}-{what}") for what, work in names.items()
            ]
        return self

    def request_stop(self) -> None:
        """Close at once and let the tasks end; may be called by ``loop.add_signal_handler``."""
        self._ending = True
        self._shut_all()
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        """Close at once and wait for the tasks to end."""
        self.request_stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._shut_all()

    async def wait_until_ready(self, timeout_seconds: float) -> bool:
        """Wait until every side has had a good answer; tell whether that came in time."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._ready.wait()
        except TimeoutError:
            return False
        return not self._ending

    async def __aenter__(self) -> Self:
        """Start."""
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()

    def _hold(self, book: Book) -> None:
        super()._hold(book)
        self._news.set()
        if all(held.activation is not None for held in book.values()):
            self._ready.set()

    async def _run(self) -> None:
        """Listen; between two connections, and where there is no stream, ask."""
        while await self._goes_with_the_world():
            pause = await self._guarded(self._listen_and_tell())
            await self._poll_until(self._monotonic() + pause)

    async def _goes_with_the_world(self) -> bool:
        if not self._rules.line.needs_lease:
            return True
        try:
            self._rules.line.check(await self._source.lease_seconds(self._world_id))
        except GateSettingsError as error:
            _log.error("The order gate of %s stays closed: %s", self._strategy_id, error)
            self._failed(error)
            return False
        except (SdkError, WorldsError) as error:
            self._failed(error)
        return True

    async def _listen_and_tell(self) -> float:
        """Hear one stream to its end and return after how long to try the next one."""
        if not self._rules.line.stream:
            return float("inf")
        hearing = None
        try:
            opened = await self._source.open_stream(
                self._world_id, self._strategy_id, client_id=self.client_id, last_seen=self._last_seen()
            )
            with closing(opened) as stream:
                hearing = self._listening(stream.sent_at)
                while True:
                    self._take_in(hearing, await stream.read(self._patience_seconds()))
        except (SdkError, WorldsError) as error:
            self._failed(error)
        return self._away_seconds(hearing)

    async def _poll_until(self, at: float) -> None:
        pause = first_poll_seconds(self._pause_seconds, spread=random.random) if at < float("inf") else 0.0
        while True:
            await asyncio.sleep(min(pause, max(0.0, at - self._monotonic())))
            if self._monotonic() >= at:
                return
            pause = await self._guarded(self.poll())

    async def _speak(self) -> None:
        """Tell the program what to close, and the server how far was heard; the gate waits for neither."""
        while True:
            await self._news.wait()
            self._news.clear()
            for key in self._watch.news(self._held):
                await self._survived(self._flatten(key))
            await self._survived(self._acknowledge())
            await asyncio.sleep(ACK_SECONDS)

    async def _flatten(self, key: InstanceKey) -> None:
        told = self._on_flatten(key) if self._on_flatten is not None else None
        if inspect.isawaitable(told):
            await told

    async def _acknowledge(self) -> None:
        position = self.position
        if position is None or position == self._acknowledged:
            return
        try:
            await self._source.acknowledge(self._world_id, client_id=self.client_id, heard=position)
        except SdkError as error:
            _log.info("Not acknowledged: %s", error)
            asyncio.get_running_loop().call_later(ACK_RETRY_SECONDS, self._news.set)
            return
        except WorldsError as error:
            _log.info("The server takes no acknowledgement: %s", error)
        self._acknowledged = position

    async def _guarded(self, work: Coroutine[object, object, float]) -> float:
        """Await work of the gate and return its pause; a defect in it is told and renews nothing."""
        done = await self._survived(work)
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if error is None:
            return done.result()
        self._failed(error if isinstance(error, Exception) else RuntimeError(repr(error)))
        return self._pause_seconds

    async def _survived(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        """Await ``work`` as a task of its own, whose end, also by a defect, does not end the caller."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        if task.cancelled():
            _log.error("Something of the order gate of %s was cancelled from outside", self._strategy_id)
        elif (error := task.exception()) is not None:
            _log.error("The order gate of %s went wrong", self._strategy_id, exc_info=error)
        return task
