"""The one thread that reads rows for the live side: it confirms, reloads, and checks tokens.

A confirmation is a lease like any other. When this thread cannot reach the database, nothing is confirmed, and answers
turn closed by themselves.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from django.db import DatabaseError, InterfaceError, connection

from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.contracts.errors import WorldNotFoundError
from qmtl_worlds.contracts.lease import Position
from worlds.live.loading import load_world, positions_of
from worlds.live.store import Confirmed, LiveStore, LiveWorld
from worlds.live.tokens import TokenBook
from worlds.services.step_facts import filed_holds

CONFIRM_SECONDS: Final = 1.0
CONFIRMS_PER_LEASE: Final = 5
RETRY_SECONDS: Final = 0.1
SERVING_SECONDS: Final = 0.02
"""For so long jobs are served between two confirmations, however long those take."""
IDLE_SECONDS: Final = 600.0
_log = structlog.get_logger(__name__)

Job = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Stop:
    """Ends the keeper."""


class Keeper:
    """Serves jobs in order, and confirms all worlds and tokens several times in the shortest lease."""

    def __init__(self, store: LiveStore, tokens: TokenBook) -> None:
        """Prepare; ``start`` begins."""
        self._store = store
        self._tokens = tokens
        self._jobs: queue.SimpleQueue[Job | Stop] = queue.SimpleQueue()
        self._due = 0.0
        self._changed: set[str] = set()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self.confirmed_at = -math.inf
        """When the database last answered, on the monotonic clock."""
        self.has_asked = False

    def start(self) -> None:
        """Start the thread, once."""
        if self._thread is None:
            self._begin()

    def stop(self) -> None:
        """End the thread; what it held stays as it is, and dies by its leases."""
        if self._thread is not None:
            self._jobs.put(Stop())
            self._thread.join()
            self._thread = None

    def submit(self, job: Job) -> None:
        """Have a job done, in turn; it must not fail but by the database."""
        self._jobs.put(job)

    def world_changed(self, world_id: str) -> None:
        """Read a world again if it is held; notices that come meanwhile are one."""
        if self._store.find(world_id) is None:
            return
        with self._guard:
            is_first = not self._changed
            self._changed.add(world_id)
        if is_first:
            self._jobs.put(self._refresh_next)

    def everything_may_have_changed(self) -> None:
        """Confirm all worlds now."""
        self._jobs.put(self._confirm)

    def load(self, world_id: str) -> LiveWorld | None:
        """Load a world; None where there is none. Called in a job."""
        held = self._store.find(world_id)
        if held is not None:
            return held
        try:
            snapshot, started = load_world(world_id)
        except WorldNotFoundError:
            return None
        world = LiveWorld(world_id, Confirmed(snapshot, started))
        self._store.worlds[world_id] = world
        return world

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """Serve until stopped; a defect ends this thread with its trace, and another one goes on."""
        stopped = False
        try:
            self._serve()
            stopped = True
        finally:
            connection.close()
            if not stopped:
                self._due = boot_time() + RETRY_SECONDS
                self._begin()

    def _serve(self) -> None:
        while not isinstance(job := self._next(), Stop):
            try:
                job()
            except (DatabaseError, InterfaceError) as error:
                _log.warning("live_unconfirmed", detail=str(error))
                connection.close()
                if job == self._confirm:
                    self._due = boot_time() + RETRY_SECONDS

    def _next(self) -> Job | Stop:
        left = self._due - boot_time()
        if left <= 0:
            return self._confirm
        try:
            return self._jobs.get(timeout=left)
        except queue.Empty:
            return self._confirm

    def _confirm(self) -> None:
        """Confirm what still stands, look for revoked tokens, and read one world that has changed.

        Of several that have changed the others are jobs of their own: a world that takes long to read must not let the
        rest lapse.
        """
        self.has_asked = True
        positions, started = positions_of(tuple(self._store.worlds))
        changed = [world for world in tuple(self._store.worlds.values()) if not _still_stands(world, positions)]
        for world in tuple(self._store.worlds.values()):
            if world.world_id in positions and world not in changed:
                world.confirm(at=started)
        if self._tokens.recheck():
            for world in tuple(self._store.worlds.values()):
                world.wake()  # streams of what was revoked end now
        self.confirmed_at = started
        for world in changed[1:]:
            self.world_changed(world.world_id)
        for world in changed[:1]:
            self._reload(world)
        now = boot_time()
        self._store.drop_idle(before=now - IDLE_SECONDS)
        self._due = max(started + self._pause(), now + SERVING_SECONDS)

    def _refresh_next(self) -> None:
        """Read one world of which there is news."""
        with self._guard:
            world_id = self._changed.pop()
            if self._changed:
                self._jobs.put(self._refresh_next)
        world = self._store.find(world_id)
        if world is not None:
            self._reload(world)

    def _reload(self, world: LiveWorld) -> None:
        try:
            snapshot, started = load_world(world.world_id, held=world.confirmed.snapshot)
        except WorldNotFoundError:
            self._store.worlds.pop(world.world_id, None)
            world.gone = True
            world.wake()
            return
        if snapshot.facts == world.confirmed.snapshot.facts:
            world.confirm(at=started)  # what was prepared stays
        else:
            world.replace(snapshot, at=started)

    def _pause(self) -> float:
        leases = [world.confirmed.snapshot.lease_seconds for world in self._store.worlds.values()]
        return min([CONFIRM_SECONDS, *(lease / CONFIRMS_PER_LEASE for lease in leases)])


def _still_stands(world: LiveWorld, positions: Mapping[str, Position]) -> bool:
    held = world.confirmed.snapshot
    if positions.get(world.world_id) != held.position or not held.facts.confirmed:
        return False
    return filed_holds(world.world_id) <= held.facts.holds  # a kill on SQLite, before its row moves the position
