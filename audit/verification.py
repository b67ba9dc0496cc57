"""Checks what the database holds: every chain, every finished evaluation, and an earlier export against both."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from django.db.models import Exists, Max, OuterRef, QuerySet

from audit.chain import ChainHead, ChainReport, ChainRow, Finding, Link, row_hash, verify_chain
from audit.models import AuditEvent, AuditRun, AuditRunState
from audit.runs import RUN_KINDS, chunks_digest, facts_text
from audit.stored import Progress, stored_heads, stored_rows
from qmtl_worlds.contracts.digests import digest_bytes

RUN_PAGE: Final = 100


def verify_stored_chain(chain: str, *, progress: Progress) -> ChainReport:
    """Check one chain and its head; what others append meanwhile is left to the next time."""
    head = stored_heads([chain]).get(chain)
    rows = stored_rows(chain, until=head.seq if head else None, progress=progress)
    report = verify_chain(chain, _links(rows), head=head)
    return report if report.finding else ChainReport(chain, report.count, _beyond_head(chain))


def verify_runs(*, worlds: Sequence[str] | None, progress: Progress) -> tuple[int, Finding | None]:
    """Check every finished evaluation of ``worlds`` (None: all) against its event, its decision and its chunks.

    Returns how many were good before the first bad one, and that one.
    """
    runs = AuditRun.objects.exclude(state=AuditRunState.RUNNING).order_by("pk")
    if worlds is not None:
        runs = runs.filter(world_id__in=worlds)
    count = 0
    while page := list(runs[:RUN_PAGE]):
        events = _events_of(page)
        for run in page:
            if problem := _problem_of(run, events.get((run.world_id, run.run_id))):
                return count, problem
            count += 1
        progress(len(page))
        runs = runs.filter(pk__gt=page[-1].pk)
    return count, _lost_run(worlds)


def verify_against(heads: Mapping[str, ChainHead]) -> tuple[Finding, ...]:
    """Check that the database still holds what an earlier export ended with: shows a cut or rewritten chain."""
    findings = (_changed_since(chain, head) for chain, head in sorted(heads.items()) if head.seq)
    return tuple(finding for finding in findings if finding)


def _links(rows: Iterator[tuple[ChainRow, str]]) -> Iterator[Link]:
    for row, stored in rows:
        yield Link(row.chain, row.seq, row.prev_hash, stored, _computed(row))


def _computed(row: ChainRow) -> str:
    """Return the hash of the row's content, or nothing where ``before`` and ``after`` are not one JSON value each.

    Else text could move between fields without a change of the bytes that the hash covers.
    """
    try:
        for text in (row.before, row.after):
            if text != "null":
                json.loads(text)
        return row_hash(row)
    except (TypeError, ValueError):
        return ""


def _beyond_head(chain: str) -> Finding | None:
    last = AuditEvent.objects.filter(chain=chain).aggregate(seq=Max("seq"))["seq"] or 0
    head = stored_heads([chain])[chain]
    if last > head.seq:
        return Finding(chain, head.seq + 1, "beyond-head", f"the head says {head.seq} rows, found are {last}")
    return None


def _changed_since(chain: str, head: ChainHead) -> Finding | None:
    stored = AuditEvent.objects.filter(chain=chain, seq=head.seq).values_list("hash", flat=True).first()
    if stored is None:
        return Finding(chain, head.seq, "missing", "the row was exported and is gone")
    if stored != head.hash:
        return Finding(chain, head.seq, "rewritten", "the row has another hash than when it was exported")
    return None


def _events_of(runs: Sequence[AuditRun]) -> dict[tuple[str, str], AuditEvent]:
    events = AuditEvent.objects.filter(
        chain__in={run.world_id for run in runs}, run_id__in={run.run_id for run in runs}, kind__in=RUN_KINDS
    )
    return {(event.chain, event.run_id): event for event in events}


def _problem_of(run: AuditRun, event: AuditEvent | None) -> Finding | None:
    if event is None:
        return Finding(run.world_id, 0, "run-unrecorded", f"evaluation {run.run_id} has no event")
    wrong = _what_differs(run, event)
    return Finding(run.world_id, event.seq, "run-altered", f"evaluation {run.run_id}: {wrong}") if wrong else None


def _what_differs(run: AuditRun, event: AuditEvent) -> str:
    """Say what of a run is not as it was recorded; nothing where all is."""
    if facts_text(run) != event.after_json or run.policy_version != event.policy_version:
        return "its facts differ from its event"
    if run.state == AuditRunState.ERROR:
        return ""
    try:
        decision = run.decision_bytes()
    except zlib.error:
        return "its decision cannot be read"
    if digest_bytes(decision) != run.decision_digest:
        return "its decision does not match its digest"
    # Sorted here, since a database may sort text in the order of a language.
    chunks = sorted((chunk.first_key, chunk.last_key, bytes(chunk.data)) for chunk in run.chunks.all())
    if chunks_digest(chunks) != run.chunks_digest:
        return "its decisions per instance do not match their digest"
    return ""


def _lost_run(worlds: Sequence[str] | None) -> Finding | None:
    finished = AuditRun.objects.exclude(state=AuditRunState.RUNNING)
    mine = finished.filter(world_id=OuterRef("chain"), run_id=OuterRef("run_id"))
    events: QuerySet[AuditEvent] = AuditEvent.objects.filter(~Exists(mine), kind__in=RUN_KINDS)
    if worlds is not None:
        events = events.filter(chain__in=worlds)
    lost = events.order_by("chain", "seq").first()
    if lost is None:
        return None
    return Finding(lost.chain, lost.seq, "run-missing", f"evaluation {lost.run_id} was recorded and is gone")
