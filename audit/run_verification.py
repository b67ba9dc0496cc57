"""Checks every finished evaluation against what the world's chain recorded of it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Final

from django.db.models import Exists, OuterRef, QuerySet

from audit.chain import Finding
from audit.models import AuditEvent, AuditRun, AuditRunState
from audit.runs import RUN_KINDS, TIMES, chunks_digest, facts_of, highlights_digest, text_of_time
from audit.stored import UNREADABLE, Progress, texts_of_times
from qmtl_worlds.contracts.digests import canonical_json, digest_bytes

RUN_PAGE: Final = 100
_LATER_FACTS: Final = frozenset({"row", "envelope", "highlights"})
"""What the events of the first release do not hold."""


def verify_runs(*, worlds: Sequence[str] | None, progress: Progress) -> tuple[int, Finding | None]:
    """Check every finished evaluation of ``worlds`` (None: all) against its event, its decision and its parts.

    Returns how many were good before the first bad one, and that one.
    """
    count = 0
    for page in _pages(_finished(worlds)):
        for problem in _problems_of(page):
            if problem:
                return count, problem
            count += 1
        progress(len(page))
    return count, _lost_run(worlds)


def _finished(worlds: Sequence[str] | None) -> QuerySet[AuditRun]:
    runs = AuditRun.objects.exclude(state=AuditRunState.RUNNING).order_by("pk")
    return runs if worlds is None else runs.filter(world_id__in=worlds)


def _pages(runs: QuerySet[AuditRun]) -> Iterator[list[int]]:
    numbers = runs.values_list("pk", flat=True)
    page = list(numbers[:RUN_PAGE])
    while page:
        yield page
        page = list(numbers.filter(pk__gt=page[-1])[:RUN_PAGE])


def _problems_of(numbers: Sequence[int]) -> Iterator[Finding | None]:
    """Yield what is wrong with each run; they are read one by one where one of them cannot be read."""
    try:
        runs = list(AuditRun.objects.filter(pk__in=numbers).order_by("pk"))
        events = _events_of(runs)
        texts = texts_of_times("audit_auditrun", TIMES, numbers)
        problems = [_problem_of(run, events.get((run.world_id, run.run_id)), texts[run.pk]) for run in runs]
    except UNREADABLE:
        if len(numbers) == 1:
            yield Finding("", 0, "run-altered", f"the evaluation in row {numbers[0]} cannot be read")
            return
        for number in numbers:
            yield from _problems_of([number])
    else:
        yield from problems


def _events_of(runs: Sequence[AuditRun]) -> dict[tuple[str, str], AuditEvent]:
    events = AuditEvent.objects.filter(
        chain__in={run.world_id for run in runs}, run_id__in={run.run_id for run in runs}, kind__in=RUN_KINDS
    )
    return {(event.chain, event.run_id): event for event in events}


def _problem_of(run: AuditRun, event: AuditEvent | None, times: Sequence[str | None]) -> Finding | None:
    if event is None:
        return Finding(run.world_id, 0, "run-unrecorded", f"evaluation {run.run_id} has no event")
    wrong = _wrong_part(run) or _what_differs(run, event, times)
    return Finding(run.world_id, event.seq, "run-altered", f"evaluation {run.run_id}: {wrong}") if wrong else None


def _what_differs(run: AuditRun, event: AuditEvent, times: Sequence[str | None]) -> str:
    """Say which facts of a run are not as recorded; nothing where all are."""
    recorded = json.loads(event.after_json)
    # Sorted here, since a database may sort text in the order of a language.
    highlights = sorted((highlight.kind, highlight.key) for highlight in run.highlights.all())
    facts = facts_of(run) | {"highlights": highlights_digest(highlights)}
    told = {name: facts[name] for name in facts if name in recorded or name not in _LATER_FACTS}
    if canonical_json(told).decode() != event.after_json or run.policy_version != event.policy_version:
        return "its facts differ from its event"
    if [*times] != [text_of_time(getattr(run, name)) for name in TIMES]:
        return "its times are not as they were written"
    return ""


def _wrong_part(run: AuditRun) -> str:
    """Say which part of a run does not match its digest; nothing where all do."""
    try:
        decision = run.decision_bytes()
    except zlib.error:
        return "its decision cannot be read"
    if (digest_bytes(decision) if decision else "") != run.decision_digest:
        return "its decision does not match its digest"
    chunks = sorted((chunk.first_key, chunk.last_key, bytes(chunk.data)) for chunk in run.chunks.all())
    if (chunks or run.chunks_digest) and chunks_digest(chunks) != run.chunks_digest:
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
