"""The thread that writes down who was heard. It may have to wait for a writer, so it is not the keeper's."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Final

import structlog
from django.db import DatabaseError, InterfaceError, connection

from qmtl_worlds.contracts.clock import boot_time
from worlds.live.counts import Books
from worlds.live.sessions import Session
from worlds.live.store import LiveStore
from worlds.live.tokens import TokenBook
from worlds.services.sessions import Heard, forget_sessions, note_sessions
from worlds.services.tokens import note_use
from worlds.stores.clock import database_now

EVERY_SECONDS: Final = 0.5
USES_SECONDS: Final = 30.0
_log = structlog.get_logger(__name__)


class Scribe:
    """Writes sessions twice a second; now and then which tokens are in use, and counts what failed.

    What cannot be written is lost.
    """

    def __init__(self, books: Books, tokens: TokenBook, store: LiveStore) -> None:
        """Prepare; ``start`` begins."""
        self._sessions = books.sessions
        self._failures = books.failures
        self._tokens = tokens
        self._store = store
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._uses_due = 0.0

    def start(self) -> None:
        """Start the thread, once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="scribe", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._stopping.set()
            self._thread.join()
            self._thread = None

    def write(self) -> None:
        """Write what is new."""
        if heard := self._sessions.take_new():
            now, clock = database_now(), boot_time()
            note_sessions([_heard(session, now=now, clock=clock) for session in heard])
        if self._uses_due <= boot_time():
            self._uses_due = boot_time() + USES_SECONDS
            now = database_now()
            for caller in self._tokens.used_since(boot_time() - USES_SECONDS):
                note_use(token=caller.token, now=now)
            forget_sessions(now=now)
            self._failures.look(tuple(self._store.worlds), now=now)

    def _run(self) -> None:
        try:
            while not self._stopping.wait(EVERY_SECONDS):
                try:
                    self.write()
                except (DatabaseError, InterfaceError) as error:
                    _log.warning("sessions_not_written", detail=str(error))
                    connection.close()
        finally:
            connection.close()


def _heard(session: Session, *, now: datetime, clock: float) -> Heard:
    def at(moment: float) -> datetime:
        return now - timedelta(seconds=clock - moment)

    return Heard(
        world_id=session.world_id,
        client_id=session.client_id,
        token=session.token,
        connection=session.connection,
        held=session.held,
        skew_ms=session.skew_ms,
        connected_at=at(session.connected_at),
        seen_at=at(session.seen_at),
        acknowledged_at=None if session.acknowledged_at is None else at(session.acknowledged_at),
    )
