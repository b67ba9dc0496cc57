"""Kill: one person, one row, at once (I22). Gates are closed and promotions forbidden until a governed lift.

The world's row is never locked, and Redis, Celery and the world's sequence are left to what follows the commit
(``kill_follow_up``): a transaction that hangs, an apply and a dead broker keep no kill waiting.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import QuerySet

from audit.chain import kill_chain
from audit.recorder import record
from qmtl_worlds.contracts.activation import GateLevel
from qmtl_worlds.contracts.acts import READ, Act
from qmtl_worlds.contracts.errors import (
    PermissionDeniedError,
    PlanStaleError,
    WorldArchivedError,
    WorldNotFoundError,
)
from qmtl_worlds.contracts.ids import InstanceKey, check_world_id
from qmtl_worlds.failpoints import reach
from qmtl_worlds.lifecycle.holds import HoldKind, Remover, relax_kill
from worlds.models import GateHold, Reopening, World
from worlds.services.changes import announce, locked_world
from worlds.services.projection import project_after_commit
from worlds.services.run_rows import hold_of
from worlds.stores import kill_file
from worlds.stores.notices import tell_after_commit

LOCK_TIMEOUT_MS: Final = 150
STATEMENT_TIMEOUT_MS: Final = 1_000
IDLE_TIMEOUT_MS: Final = 500
"""A killer that is stopped inside its transaction keeps the next one waiting no longer than this."""
WRITER_WAIT_MS: Final = 500
"""How long a kill waits for SQLite's writer; its file has closed the gates before."""
ATTEMPTS: Final = 5
_LIMITS: Final = (
    f"SELECT set_config('lock_timeout', '{LOCK_TIMEOUT_MS}ms', true),"
    f" set_config('statement_timeout', '{STATEMENT_TIMEOUT_MS}ms', true),"
    f" set_config('idle_in_transaction_session_timeout', '{IDLE_TIMEOUT_MS}ms', true)"
)


@dataclass(frozen=True, slots=True)
class Killed:
    """What a kill did: ``recorded`` is false where only its file closes the gates so far; the tick records it."""

    world_id: str
    scope: str
    recorded: bool


def kill(*, world_id: str, act: Act, scope: str = "") -> Killed:
    """Close every gate of the world, or of the instance that ``scope`` names, for exits too. Twice is once.

    Raises:
        WorldNotFoundError: there is no such world for this actor.
        PermissionDeniedError: the actor may close no gate here.
        OperationalError: the database does not answer, or refused five times.
    """
    check_world_id(world_id)
    key = InstanceKey.from_text(scope) if scope else None
    _require(act, world_id, key)
    _check_lives(world_id)
    scope = key.text if key else ""
    filed = kill_file.drop(world_id=world_id, scope=scope, act=act) if kill_file.are_used() else None
    try:
        _insert_patiently(world_id, scope, act)
    except OperationalError:
        if filed is None:
            raise
        return Killed(world_id, scope, recorded=False)
    if filed is not None:
        kill_file.remove(filed)
    return Killed(world_id, scope, recorded=True)


def record_filed(*, world_id: str | None = None) -> int:
    """Give every kill that only a file stands for its row, as far as the database lets us; return how many got one.

    The file goes once the row is committed, so that a crash in between costs nothing: the row is there already then.
    """
    recorded = 0
    for filed in kill_file.filed_kills(world_id):
        if World.objects.filter(id=filed.world_id).exists():
            act = Act(filed.actor, filed.reason, filed.at, filed.request_id)
            _insert(filed.world_id, filed.scope, act, owner=filed.actor, kind="gate.kill_recovered")
            recorded += 1
        kill_file.remove(filed)
    return recorded


@transaction.atomic
def allow_flattening(*, world_id: str, act: Act, scope: str = "") -> World:
    """Let orders that reduce risk through while the kill stays, so that a Runner can flatten. Twice is once."""
    act.require("gate.lift_kill", world_id)
    world = locked_world(world_id)
    record_filed(world_id=world_id)
    closed = _kills(world_id, scope).select_for_update(no_key=True).filter(level=GateLevel.CLOSED.value)
    owners = [row.owner for row in closed if _relax(row)]
    if owners:
        facts = {"scope": scope, "owners": owners, "level": GateLevel.REDUCE_ONLY.value}
        announce(world, kind="activation_updated", payload={"flattening_allowed": scope}, now=act.now)
        project_after_commit(world_id=world.id)
        record(chain=world.id, kind="gate.flattening_allowed", act=act, subject=scope or world.id, after=facts)
    return world


def is_killed(*, world_id: str, scope: str = "") -> bool:
    """Tell whether a kill of exactly that scope stands."""
    filed = any(one.scope == scope for one in kill_file.filed_kills(world_id))
    return filed or _kills(world_id, scope).exists()


def closed_kills(*, world_id: str, scope: str = "") -> bool:
    """Tell whether a kill of exactly that scope stops exits as well."""
    filed = any(one.scope == scope for one in kill_file.filed_kills(world_id))
    return filed or _kills(world_id, scope).filter(level=GateLevel.CLOSED.value).exists()


def standing_kills(*, world_id: str, scope: str = "") -> dict[str, object]:
    """Return which kills of that scope stand, as the parameters of a request to lift exactly these.

    Raises:
        PlanStaleError: none does.
    """
    record_filed(world_id=world_id)
    rows = _kills(world_id, scope).order_by("owner").values_list("owner", "placed_at")
    kills = [[owner, placed_at.isoformat()] for owner, placed_at in rows]
    if not kills:
        raise PlanStaleError(f"Nothing is killed there: {scope or world_id}.", world_id=world_id, scope=scope)
    return {"kills": kills}


def reopen(*, reopening: Reopening, act: Act) -> None:
    """Lift the kills that the request names; one that came, or was repeated, after it stays.

    Raises:
        PlanStaleError: none of them stands as it did: somebody killed again, or they were lifted.
    """
    world = locked_world(reopening.world_id)
    wanted = dict(reopening.parameters["kills"])
    rows = _kills(world.id, reopening.scope).select_for_update(no_key=True)
    lifted = [row for row in rows if wanted.get(row.owner) == row.placed_at.isoformat()]
    if not lifted:
        raise PlanStaleError("Somebody killed again after this was asked for; ask anew.", world_id=world.id)
    GateHold.objects.filter(pk__in=[row.pk for row in lifted]).delete()
    announce(world, kind="activation_updated", payload={"hold_lifted": HoldKind.KILL.value}, now=act.now)
    project_after_commit(world_id=world.id)
    before = {"scope": reopening.scope, "owners": sorted(row.owner for row in lifted), "reopening": reopening.pk}
    record(chain=world.id, kind="gate.kill_lifted", act=act, subject=reopening.scope or world.id, before=before)


def _require(act: Act, world_id: str, key: InstanceKey | None) -> None:
    """Who may close gates may kill; a token of named strategies may kill those, and nothing else."""
    act.require(READ, world_id)
    if act.grants.strategies is None:
        act.require("gate.close", world_id)
    elif key is None:
        raise PermissionDeniedError(act.actor, permission="gate.close")
    else:
        own = "gate.close" if act.grants.allows("gate.close", world_id) else "gate.close_own"
        act.require(own, world_id, strategy_id=key.strategy_id)


def _check_lives(world_id: str) -> None:
    state = World.objects.filter(id=world_id).values_list("state", flat=True).first()
    if state is None:
        raise WorldNotFoundError(world_id)
    if state == World.State.DELETED:
        raise WorldArchivedError(world_id, state=state)


def _insert_patiently(world_id: str, scope: str, act: Act) -> None:
    """Insert; where the actor's own earlier kill is being lifted or placed by a transaction that hangs, beside it."""
    owner = act.actor
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with _short_wait_for_writer():
                return _insert(world_id, scope, act, owner=owner, kind="gate.killed")
        except (OperationalError, IntegrityError) as error:
            if attempt == ATTEMPTS or kill_file.are_used():
                raise OperationalError(str(error)) from error
            owner = f"{act.actor}#{secrets.token_hex(4)}"
    raise AssertionError("the last attempt returns or raises")


@transaction.atomic
def _insert(world_id: str, scope: str, act: Act, *, owner: str, kind: str) -> None:
    """Put the hold there, closed; a kill that stands is told again only where it changes something."""
    _limit_statements()
    row = _kills(world_id, scope).select_for_update(no_key=True).filter(owner=owner).first()
    if row is None:
        row = GateHold(world_id=world_id, scope=scope, kind=HoldKind.KILL.value, owner=owner)
    elif row.level == GateLevel.CLOSED.value and not _lift_is_asked(world_id, scope):
        return
    row.level, row.reason, row.placed_by, row.placed_at = GateLevel.CLOSED.value, act.reason, act.actor, act.now
    row.save()
    facts = {"scope": scope, "owner": owner, "level": row.level}
    record(chain=kill_chain(world_id), kind=kind, act=act, subject=scope or world_id, after=facts)
    transaction.on_commit(partial(reach, "kill.after_commit"))
    tell_after_commit(world_id)
    reach("kill.before_commit")


def _relax(row: GateHold) -> bool:
    relaxed = relax_kill(hold_of(row), by=Remover.RISK)
    if relaxed is None:
        return False
    row.level = relaxed.level.value
    row.save(update_fields=["level"])
    return True


def _limit_statements() -> None:
    """Let nothing wait long, in this transaction only; one inside another has its own limits."""
    if connection.vendor == "postgresql" and len(connection.savepoint_ids) == 0:
        with connection.cursor() as cursor:
            cursor.execute(_LIMITS)


@contextmanager
def _short_wait_for_writer() -> Iterator[None]:
    """Wait for SQLite's writer for a moment only."""
    if connection.vendor != "sqlite":
        yield
        return
    with connection.cursor() as cursor:
        before = cursor.execute("PRAGMA busy_timeout").fetchone()[0]
        cursor.execute(f"PRAGMA busy_timeout = {WRITER_WAIT_MS}")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {int(before)}")


def _kills(world_id: str, scope: str) -> QuerySet[GateHold]:
    return GateHold.objects.filter(world_id=world_id, scope=scope, kind=HoldKind.KILL.value)


def _lift_is_asked(world_id: str, scope: str) -> bool:
    """A kill that is repeated while somebody wants to lift it means that it shall stay."""
    asked = Reopening.objects.filter(world_id=world_id, subject=Reopening.Subject.KILL, scope=scope)
    return asked.filter(state=Reopening.State.REQUESTED).exists()
