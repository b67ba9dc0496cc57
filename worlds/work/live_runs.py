"""Runs under way are carried on: in each tick, and by a thread of the tick process that does nothing else.

A tick waits for much: for Redis, for locks of other worlds, on SQLite at each of its writes for the only writer. A run
whose worker has died waits for none of it, and is taken up when the dead worker's lease or the drain ends.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from random import random
from typing import Final, TypeVar

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections, connection

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import WorldsError
from qmtl_worlds.contracts.states import LIVE_STATES, RunKind, RunState
from qmtl_worlds.own_connection import no_pool
from worlds.models import ApplyRun
from worlds.services.advance import advance, count_failure
from worlds.services.authority import act_of_system
from worlds.services.restore import close_restored
from worlds.services.tick_memory import Memory
from worlds.stores.clock import database_now

MARGIN_SECONDS: Final = 0.01
"""So long after a lease or a drain has ended somebody looks again."""
MORE_LOOKS: Final = 4
"""How often in the time between two looks one is made where a drain was not seen for long enough, or no database."""
Done = TypeVar("Done")
_log = structlog.get_logger(__name__)


def start_carrying(stopped: threading.Event, *, every: float) -> threading.Thread:
    """Start the thread; it looks every so many seconds, or sooner, and ends soon after ``stopped`` is set."""
    thread = threading.Thread(target=_run, args=(stopped, every), name="live runs", daemon=True)
    thread.start()
    return thread


def carry_on(*, act: Act) -> list[ApplyRun]:
    """Take every run under way as far as it goes now; return those that this could be tried with.

    Reductions come first. Worlds come in no fixed order: the last of one would never have its turn under a database
    that dies twice a second.
    """
    states = [state.value for state in LIVE_STATES]
    runs = ApplyRun.objects.filter(state__in=states).order_by("id")
    turns: dict[str, float] = defaultdict(random)
    in_turn = sorted(runs, key=lambda run: (run.kind != RunKind.REDUCE, turns[run.world_id]))
    tried = [guarded(_advance, run, act) for run in in_turn]
    return [run for run in tried if run is not None]


def seconds_until_due(runs: Iterable[ApplyRun], *, now: datetime, every: float) -> float:
    """Return after how long to look again: at the end of a lease or of a drain, if that is sooner than ``every``."""
    return min((_seconds_until(run, now, every) for run in runs if run.state in LIVE_STATES), default=every)


def guarded(step: Callable[[ApplyRun, Act], Done], run: ApplyRun, act: Act) -> Done | None:
    """Make a step of one run; None where it refuses or breaks, which keeps no other run waiting."""
    try:
        return step(run, act)
    except WorldsError as error:
        _log.warning("tick_refused", world_id=run.world_id, run_id=run.run_id, code=error.code, detail=error.detail)
    except OperationalError as error:  # somebody holds the world's lock; without a database the next statement tells
        _log.warning("tick_postponed", world_id=run.world_id, run_id=run.run_id, detail=str(error))
    except Exception:  # noqa: BLE001 - the task boundary: one broken run must not stop the other worlds
        _log.exception("tick_broke", world_id=run.world_id, run_id=run.run_id)
        _count_failure(run)
    return None


def _count_failure(run: ApplyRun) -> None:
    try:
        count_failure(run_id=run.run_id, world_id=run.world_id)
    except OperationalError as error:  # its world's lock is held: the next one counts
        _log.warning("failure_uncounted", world_id=run.world_id, run_id=run.run_id, detail=str(error))


def _advance(run: ApplyRun, act: Act) -> ApplyRun:
    return advance(world_id=run.world_id, run_id=run.run_id, act=act)


def _seconds_until(run: ApplyRun, now: datetime, every: float) -> float:
    due = run.lease_until or run.drain_until
    if due is not None and due > now:
        return min(every, (due - now) / timedelta(seconds=1) + MARGIN_SECONDS)
    return every / MORE_LOOKS if run.state == RunState.DRAINING else every


@no_pool()
def _run(stopped: threading.Event, every: float) -> None:
    memory = Memory()
    while not stopped.is_set():
        pause = every / MORE_LOOKS
        try:
            pause = _look(memory, every)
        except (DatabaseError, InterfaceError) as error:  # the tick beside it tells
            _log.debug("live_runs_wait", detail=str(error))
            connection.close()
        close_old_connections()
        stopped.wait(pause)


def _look(memory: Memory, every: float) -> float:
    act = act_of_system(reason="tick")
    close_restored(memory=memory, act=act)  # before anything goes on from rows that may be old
    runs = carry_on(act=act)
    return seconds_until_due(runs, now=database_now(), every=every) if runs else every
