"""What children of the nursery can be; each is the product's own code in a process of its own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final

import uvicorn
from celery.backends import redis as backend
from django.core.management import call_command
from django.db import DatabaseError, InterfaceError, connection
from kombu.transport import redis as transport

from qmtl_worlds.celery import app
from qmtl_worlds.contracts.errors import WorldsError
from qmtl_worlds.contracts.states import TERMINAL_STATES, RunState
from qmtl_worlds.lifecycle.calendar import Calendar
from torture.history import sign_writes
from torture.observer import observe
from torture.operations import operate
from torture.people import POLICY
from torture.proxy import carry
from torture.runner import trade
from worlds.models import ApplyRun, PolicyVersion
from worlds.services.advance import advance
from worlds.services.authority import act_of_system, roles
from worlds.services.dispatch import ADVANCE
from worlds.services.run_rows import compiled

Tell = Callable[[dict[str, Any]], None]
Words = Mapping[str, Any]
HASTY: Final = frozenset({"operator", "worker"})
LATE: Final = (
    "celery.app.events",
    "celery.app.routes",
    "celery.events.dispatcher",
    "celery.events.receiver",
    "celery.utils.saferepr",
    "kombu.utils.limits",
    "numpy.ma",
    "psycopg_pool",
)
"""What the product imports only when it is first used."""
POLITE: Final = 5
"""Whoever only makes work for others lets those go first who watch, answer and carry on."""
WORKER_PAUSE_SECONDS: Final = 0.08
RESTING: Final = TERMINAL_STATES | {RunState.HELD, RunState.REQUESTED}


def warm_up(worlds: Sequence[str]) -> None:
    """Do once, before the first fork, what each child would do again; no connection is opened."""
    for world_id in worlds:
        compiled(PolicyVersion(text=POLICY.format(world=world_id), world_id=world_id))
    app.loader.import_default_modules()
    app.finalize()
    for module in (backend, transport):  # Celery would import them at the first bell
        sys.modules.setdefault(module.__name__, module)
    for name in LATE:
        import_module(name)
    app.amqp.router.route({}, ADVANCE)
    roles()
    Calendar.load("24/7")


def play(role: str, tell: Tell, order: Mapping[str, Any]) -> None:
    """Be what an order of the nursery says, signing all that it writes."""
    sign_writes(f"torture-{order['number']}")
    if role in HASTY:
        os.nice(POLITE)
    ROLES[role](tell, order["arguments"])


def keep_ticking(_tell: Tell, words: Words) -> None:
    """Be ``manage.py tick``, which looks every second or rarely."""
    call_command("tick", every=words.get("every", 1.0))


def work(tell: Tell, words: Words) -> None:
    """Advance one run until it rests, as a worker does whose bell never stops ringing."""
    until = time.monotonic() + words.get("seconds", 60)
    while time.monotonic() < until:
        pause = WORKER_PAUSE_SECONDS
        try:
            run = advance(world_id=words["world_id"], run_id=words["run_id"], act=act_of_system(reason="torture"))
        except (DatabaseError, InterfaceError, WorldsError) as error:
            tell({"refused": str(error)[:200]})
            connection.close()
        else:
            if run.state in RESTING:
                return
            pause = _until_drained(run)
        time.sleep(pause)


def serve(_tell: Tell, words: Words) -> None:
    """Serve the API on a port of the loopback."""
    uvicorn.run(  # by name: its threads must be made in this process
        "qmtl_worlds.asgi:application",
        host="127.0.0.1",
        port=words["port"],
        lifespan="off",
        log_level="warning",
        access_log=False,
    )


def consume(_tell: Tell, words: Words) -> None:
    """Be a Celery worker, in one process, on both queues."""
    name = f"torture-{words['nickname']}@local"
    options = ("--pool", "solo", "--queues", "control,compute", "--without-gossip", "--without-mingle")
    app.worker_main(["worker", *options, "--loglevel", "WARNING", "--hostname", name])


def ring_regularly(_tell: Tell, words: Words) -> None:
    """Be a beat scheduler."""
    app.start(["beat", "--schedule", words["schedule"], "--pidfile=", "--loglevel", "WARNING"])


def hold_the_lock(tell: Tell, words: Words) -> None:
    """Lock a world's row and do nothing, as a client that was stopped would."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT 1 FROM worlds_world WHERE id = %s FOR UPDATE", [words["world_id"]])
        tell({"held": True})
        time.sleep(words["seconds"])


def _until_drained(run: ApplyRun) -> float:
    """Return the pause of a worker: no longer than the drain, so that it is there before the tick's thread."""
    left = run.drain_until.timestamp() - time.time() if run.drain_until else 0.0
    return left if 0 < left < WORKER_PAUSE_SECONDS else WORKER_PAUSE_SECONDS


ROLES: Final[Mapping[str, Callable[[Tell, Words], None]]] = {
    "tick": keep_ticking,
    "worker": work,
    "web": serve,
    "celery": consume,
    "beat": ring_regularly,
    "operator": operate,
    "locker": hold_the_lock,
    "runner": trade,
    "wire": carry,
    "observer": observe,
}
