"""The known mistakes as the simulator meets them: what each changes in its actors, its rows or the table."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from formal.patches import TABLE_PATCHES, Patch
from qmtl_worlds.contracts.activation import ActivationEnvelope
from qmtl_worlds.contracts.lease import StreamClock, read_deadline
from qmtl_worlds.contracts.states import RunState
from qmtl_worlds.sdk import permission
from tests.faults import simulator_actors as actors
from tests.faults import simulator_rows as rows
from tests.faults.simulator_actors import Copy, Office, Redis, Waits
from tests.faults.simulator_rows import Rows


def _always(_rows: Rows, _run_id: str) -> bool:
    return True


def _never(_redis: Redis, _copy: Copy) -> bool:
    return False


def _from_the_write(_started: float, written: float) -> float:
    return written + actors.LEASE


def _any_answer(_offered: ActivationEnvelope, _held: ActivationEnvelope | None) -> bool:
    return True


def _back_when_undone(before: Rows, state: RunState) -> int:
    return before.generation + (-1 if state is RunState.SWITCHED else 1)


_project = actors.project


def _confirm(office: Office) -> Waits:
    """Take every drain for over once Redis has the close."""
    yield from _project(office)
    seen = office.database.rows
    copy = office.redis.read()
    if copy is None or copy.position != seen.position:
        return
    for row in seen.runs.values():
        if row.view.state is RunState.DRAINING:
            over = replace(row.view, drain_until=rows.START)
            office.database.rows = office.database.rows.with_run(replace(row, view=over))


def _half(redis: Redis, copy: Copy) -> None:
    held = redis.read()
    if held is not None:
        entries = {key: weight for key, weight in held.entries.items() if key not in rows.KEYS[:2]}
        entries |= {key: weight for key, weight in copy.entries.items() if key in rows.KEYS[:2]}
        copy = replace(copy, entries=entries)
    redis.master = copy


def _from_the_arrival(clock: StreamClock, *, server_ms: float, lease_ms: float) -> float:
    return read_deadline(sent=clock.sent + 2 * (server_ms - clock.first_server_ms) / 1000, lease_ms=lease_ms)


def _no_more(office: Office) -> Waits:
    while True:
        yield 3600.0 + office.draw.random()


MUTANTS: Final[dict[str, tuple[Patch, ...]]] = {
    **TABLE_PATCHES,
    "B3": (Patch(rows, "may_start", _always),),
    "B4": (Patch(Redis, "expired", _never),),
    "B5": (Patch(actors, "copy_deadline", _from_the_write),),
    "B6": (Patch(actors, "project", _confirm), *TABLE_PATCHES["B15"]),
    "B7": (Patch(permission, "supersedes", _any_answer),),
    "B8": (Patch(rows, "next_generation", _back_when_undone),),
    "B9": (Patch(Redis, "write", _half),),
    "B12": (Patch(StreamClock, "deadline", _from_the_arrival),),
    "B14": (Patch(actors, "reconcile", _no_more),),
}
