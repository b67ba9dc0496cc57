"""What was really committed, told by the database itself: triggers that the product knows nothing of.

``torture_commit`` gets a row for each position that a world reaches, ``torture_step`` one for each move of an apply run
with the process that made it. Both are written in the transaction of the change, so they hold what was committed, all
of it, and nothing else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from audit.chain import KILL_SUFFIX
from qmtl_worlds.contracts.lease import Position

_TABLES: Final = (
    """CREATE TABLE torture_commit (id {serial}, world_id text, incarnation bigint, sequence bigint,
       hold_sequence bigint, generation bigint, holds text, at {time})""",
    """CREATE TABLE torture_step (id {serial}, world_id text, run_id text, kind text, before text, state text,
       epoch bigint, writer text, at {time})""",
)
_HOLDS: Final = "SELECT kind || ' ' || level || ' ' || scope AS held FROM worlds_gatehold WHERE world_id = {world}"
_COMMIT: Final = """INSERT INTO torture_commit
    (world_id, incarnation, sequence, hold_sequence, generation, holds, at)
    SELECT w.id, w.incarnation, w.sequence,
        COALESCE((SELECT seq FROM audit_audithead WHERE chain = w.id || '{suffix}'), 0), w.generation,
        COALESCE((SELECT {join}(held, {comma}) FROM ({holds}) h), ''), {now}
    FROM worlds_world w WHERE w.id = {world};"""
_STEP: Final = """INSERT INTO torture_step (world_id, run_id, kind, before, state, epoch, writer, at)
    VALUES (NEW.world_id, NEW.run_id, NEW.kind, OLD.state, NEW.state, NEW.epoch, {writer}, {now});"""
_MOVED: Final = "OLD.state <> NEW.state OR OLD.epoch <> NEW.epoch"
_KILLED: Final = f"NEW.chain LIKE '%{KILL_SUFFIX}'"
_WORLD_OF_KILL: Final = f"substr(NEW.chain, 1, length(NEW.chain) - {len(KILL_SUFFIX)})"
_SLOW: Final = (
    "CREATE TABLE torture_slow (seconds double precision)",
    "INSERT INTO torture_slow VALUES (0)",
    """CREATE FUNCTION torture_wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
       PERFORM pg_sleep(random() * seconds) FROM torture_slow WHERE seconds > 0; RETURN NULL; END $$""",
    """CREATE CONSTRAINT TRIGGER torture_wait AFTER INSERT ON worlds_outboxevent DEFERRABLE INITIALLY DEFERRED
       FOR EACH ROW EXECUTE FUNCTION torture_wait()""",
)
"""Makes commits slow on demand: the wait is in the commit itself."""
_FAR_BEHIND: Final = 400
"""Rows may become visible out of the order of their numbers, so each look goes so many rows back."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One committed state of a world; ``holds`` are ``(kind, level, scope)``, ``at`` the database's time before it."""

    number: int
    world_id: str
    position: Position
    generation: int
    holds: frozenset[tuple[str, str, str]]
    at: float


@dataclass(frozen=True, slots=True)
class Step:
    """One committed move of an apply run, and which process made it."""

    number: int
    world_id: str
    run_id: str
    kind: str
    before: str
    state: str
    epoch: int
    writer: str
    at: float


class HistoryReader:
    """Reads what has been committed since the last look."""

    def __init__(self) -> None:
        """Start from the beginning."""
        self._seen: dict[str, set[int]] = {"torture_commit": set(), "torture_step": set()}
        self._last = {"torture_commit": 0, "torture_step": 0}

    def commits(self) -> list[Commit]:
        """Return the new states, in the order of their numbers."""
        columns = "world_id, incarnation, sequence, hold_sequence, generation, holds, at"
        return [
            Commit(row[0], row[1], Position(*row[2:5]), row[5], _holds(row[6]), _seconds(row[7]))
            for row in self._new("torture_commit", columns)
        ]

    def steps(self) -> list[Step]:
        """Return the new moves, in the order of their numbers."""
        columns = "world_id, run_id, kind, before, state, epoch, writer, at"
        return [Step(*[*row[:8], _seconds(row[8])]) for row in self._new("torture_step", columns)]

    def _new(self, table: str, columns: str) -> list[Any]:
        seen = self._seen[table]
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id, {columns} FROM {table} WHERE id > %s ORDER BY id",  # noqa: S608 - our own names
                [self._last[table] - _FAR_BEHIND],
            )
            rows = [row for row in cursor.fetchall() if row[0] not in seen]
        seen.update(row[0] for row in rows)
        self._last[table] = max([self._last[table], *(row[0] for row in rows)])
        return rows


def install() -> None:
    """Make the tables and triggers in the present database, which must be a throw-away one."""
    with connection.cursor() as cursor:
        for statement in _postgres() if connection.vendor == "postgresql" else _sqlite():
            cursor.execute(statement)


def sign_writes(name: str) -> None:
    """Let all connections that this process opens from now on say who writes."""
    os.environ["PGAPPNAME"] = name
    _SIGNATURE["name"] = name


def clock_offset() -> float:
    """Return what to add to a time of the database to have this machine's monotonic one; they share the machine."""
    before = time.monotonic()
    now = time.time()
    return (before + time.monotonic()) / 2 - now


_SIGNATURE: Final = {"name": "torture"}


def _sign(connection: BaseDatabaseWrapper, **_signal: object) -> None:
    if connection.vendor == "sqlite":
        connection.connection.create_function("torture_writer", 0, lambda: _SIGNATURE["name"])


connection_created.connect(_sign, dispatch_uid="torture.sign")


def _postgres() -> list[str]:
    words = {
        "serial": "bigserial PRIMARY KEY",
        "time": "timestamptz",
        "now": "clock_timestamp()",
        "writer": "current_setting('application_name')",
        "join": "string_agg",
        "comma": "','",
    }
    body = "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {do} RETURN NULL; END $$"
    trigger = "CREATE TRIGGER {name} AFTER {event} FOR EACH ROW {when} EXECUTE FUNCTION {name}()"
    return [
        *(table.format(**words) for table in _TABLES),
        *(
            text.format(name=name, do=do, event=event, when=when)
            for name, event, when, do in _triggers(words)
            for text in (body, trigger)
        ),
        *_SLOW,
    ]


def _sqlite() -> list[str]:
    words = {
        "serial": "integer PRIMARY KEY AUTOINCREMENT",
        "time": "text",
        "now": "strftime('%Y-%m-%d %H:%M:%f', 'now')",
        "writer": "torture_writer()",
        "join": "group_concat",
        "comma": "','",
    }
    trigger = "CREATE TRIGGER {name} AFTER {event} FOR EACH ROW {when} BEGIN {do} END"
    return [
        *(table.format(**words) for table in _TABLES),
        *(trigger.format(name=name, do=do, event=event, when=when) for name, event, when, do in _triggers(words)),
    ]


def _triggers(words: Mapping[str, str]) -> list[tuple[str, str, str, str]]:
    """Return name, event, condition and body of each trigger."""

    def commit(world: str) -> str:
        return _COMMIT.format(suffix=KILL_SUFFIX, holds=_HOLDS.format(world=world), world=world, **words)

    return [
        ("torture_world", "UPDATE OF sequence, incarnation ON worlds_world", "", commit("NEW.id")),
        ("torture_kill", "UPDATE OF seq ON audit_audithead", f"WHEN ({_KILLED})", commit(_WORLD_OF_KILL)),
        ("torture_run", "UPDATE ON worlds_applyrun", f"WHEN ({_MOVED})", _STEP.format(**words)),
    ]


def _holds(text: str) -> frozenset[tuple[str, str, str]]:
    found = (held.split(" ", 2) for held in text.split(",") if held)
    return frozenset((kind, level, scope) for kind, level, scope in found)


def _seconds(value: datetime | str) -> float:
    if isinstance(value, str):
        value = datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value.timestamp()
