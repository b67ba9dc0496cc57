"""What a gate says, on a thread of its own: how far it has heard, and to the program what it has to close."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from qmtl_worlds.contracts.errors import WorldsError
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.sdk.boundary import guarded
from qmtl_worlds.sdk.episodes import FlatWatch
from qmtl_worlds.sdk.errors import SdkError
from qmtl_worlds.sdk.hearing import Book

ACK_SECONDS: Final = 1.0
"""Acknowledgements are for display: one in so much time tells enough."""
ACK_RETRY_SECONDS: Final = 5.0
OnFlatten = Callable[[InstanceKey], object]
"""Told of an instance whose position is to be closed."""

_log = logging.getLogger(__name__)


class Messenger:
    """Says on a daemon thread what may take long, so that the gate never waits for it; best effort."""

    def __init__(
        self,
        say: Callable[[Position], object],
        *,
        close: Callable[[], None],
        on_flatten: OnFlatten | None,
        name: str,
    ) -> None:
        """Prepare; ``say`` acknowledges a position, and may fail as a client does, over what ``close`` closes."""
        self._say = say
        self._close = close
        self._on_flatten = on_flatten
        self._watch = FlatWatch()
        self._news: tuple[Position | None, Book] = (None, {})
        self._acknowledged: Position | None = None
        self._woken = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def tell(self, position: Position | None, book: Book) -> None:
        """Have the newest said; what it overtakes is never said."""
        self._news = (position, book)
        self._woken.set()

    def stop(self) -> None:
        """End the thread soon, without waiting for it: a callback may take its time."""
        self._ending.set()
        self._woken.set()

    def _run(self) -> None:
        try:
            self._speak()
        finally:
            self._close()

    def _speak(self) -> None:
        pause: float | None = None
        while True:
            self._woken.wait(pause)
            self._woken.clear()
            if self._ending.is_set():
                return
            position, book = self._news
            self._flatten(book)
            pause = None if self._acknowledge(position) else ACK_RETRY_SECONDS
            if self._ending.wait(ACK_SECONDS):
                return

    def _flatten(self, book: Book) -> None:
        if (callback := self._on_flatten) is None:
            return
        for key in self._watch.news(book):
            guarded(partial(callback, key), what=f"Telling the program to close {key.text}", failed=str)

    def _acknowledge(self, position: Position | None) -> bool:
        """Tell whether there is nothing left to say; what the server refuses is not said again."""
        if position is None or position == self._acknowledged:
            return True
        try:
            self._say(position)
        except SdkError as error:
            _log.info("Not acknowledged: %s", error)
            return False
        except WorldsError as error:
            _log.info("The server takes no acknowledgement: %s", error)
        self._acknowledged = position
        return True
