"""Questions to the audit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import QuerySet

from audit.chain import kill_chain
from audit.models import AuditChunk, AuditEvent, AuditHighlight, AuditRun, AuditRunState, HighlightKind, RunKind
from qmtl_worlds.contracts.errors import InputInvalidError, RunNotFoundError

LARGEST_PAGE: Final = 500

_CURSOR = re.compile(r"(\d{1,18})\.(\d{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are asked for; empty means all.

    ``kind`` is a whole kind, or its first word: ``gate`` finds ``gate.frozen`` and ``gate.killed``.
    """

    kind: str = ""
    actor: str = ""
    run_id: str = ""
    request_id: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events, newest first, and the cursor that asks for the next older ones; empty at the end."""

    events: tuple[AuditEvent, ...]
    next_cursor: str


def list_events(*, chain: str, wanted: EventFilter, cursor: str = "", limit: int = 100) -> EventPage:
    """List the events of one world and of its kills, or of ``SYSTEM_CHAIN``, newest first.

    At most ``limit`` (1 to 500) at a time; ``cursor`` is a page's ``next_cursor``.

    Raises:
        InputInvalidError: the cursor is none of ours, or the limit is out of range.
    """
    if not 1 <= limit <= LARGEST_PAGE:
        raise InputInvalidError(field="limit", reason=f"must be between 1 and {LARGEST_PAGE}")
    found: list[AuditEvent] = []
    below: dict[str, int] = {}
    for name, bound in zip((chain, kill_chain(chain)), _parse_cursor(cursor), strict=True):
        newest = list(_matching(name, wanted, bound)[: limit + 1])
        below[name] = newest[0].seq + 1 if newest else 0
        found += newest
    found.sort(key=lambda event: event.pk, reverse=True)
    page = tuple(found[:limit])
    below |= {event.chain: event.seq for event in page}
    return EventPage(page, ".".join(str(bound) for bound in below.values()) if len(found) > limit else "")


def get_run(*, world_id: str, run_id: str) -> AuditRun:
    """Return one evaluation.

    Raises:
        RunNotFoundError: there is none.
    """
    if run := find_run(world_id=world_id, run_id=run_id):
        return run
    raise RunNotFoundError(world_id, run_id)


def find_run(*, world_id: str, run_id: str) -> AuditRun | None:
    """Return one evaluation, or None."""
    return AuditRun.objects.filter(world_id=world_id, run_id=run_id).first()


def find_newest_run(*, world_id: str, as_of: datetime | None = None) -> AuditRun | None:
    """Return the newest evaluation of a world that ended ok and was no advisory one, or None.

    ``as_of`` asks for the newest among those of data up to that time.
    """
    runs = AuditRun.objects.filter(world_id=world_id, state=AuditRunState.OK).exclude(kind=RunKind.ADVISORY)
    if as_of is not None:
        runs = runs.filter(as_of__lte=as_of)
    return runs.order_by("-pk").first()


def list_runs(*, world_id: str, before_pk: int | None = None, limit: int = 100) -> tuple[AuditRun, ...]:
    """List the evaluations of a world, newest first, without their decisions; ``before_pk`` asks for older ones."""
    runs = AuditRun.objects.filter(world_id=world_id).order_by("-pk").defer("envelope", "inputs_json")
    if before_pk is not None:
        runs = runs.filter(pk__lt=before_pk)
    return tuple(runs[:limit])


def find_chunk(*, run: AuditRun, key: str) -> bytes | None:
    """Return the packed decisions among which that of instance ``key`` is, or None where no chunk covers it."""
    # Compared here, since a database may compare text in the order of a language.
    ranges = AuditChunk.objects.filter(run=run).order_by().values_list("pk", "first_key", "last_key")
    covering = [pk for pk, first, last in ranges if first <= key <= last]
    return bytes(AuditChunk.objects.get(pk=covering[0]).data) if covering else None


def list_highlights(*, run: AuditRun, kind: HighlightKind) -> tuple[str, ...]:
    """List the keys of the instances that stand out in a run in one way, sorted."""
    return tuple(sorted(AuditHighlight.objects.filter(run=run, kind=kind).order_by().values_list("key", flat=True)))


def _matching(chain: str, wanted: EventFilter, below: int | None) -> QuerySet[AuditEvent]:
    given = {"actor": wanted.actor, "run_id": wanted.run_id, "request_id": wanted.request_id}
    events = AuditEvent.objects.filter(chain=chain, **{name: value for name, value in given.items() if value})
    if "." in wanted.kind:
        events = events.filter(kind=wanted.kind)
    elif wanted.kind:
        events = events.filter(kind__startswith=wanted.kind + ".")
    if wanted.since is not None:
        events = events.filter(at__gte=wanted.since)
    if below is not None:
        events = events.filter(seq__lt=below)
    return events.order_by("-seq")


def _parse_cursor(cursor: str) -> tuple[int | None, int | None]:
    """Read ``world.kill``: below which sequence number to go on in either chain."""
    if not cursor:
        return None, None
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise InputInvalidError(field="cursor", reason="must be the next_cursor of a page")
    return int(match[1]), int(match[2])
