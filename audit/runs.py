"""The only writer of evaluation records."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from django.db import transaction

from audit.models import AuditChunk, AuditHighlight, AuditRun, AuditRunState, HighlightKind, RunKind
from audit.recorder import record
from audit.redaction import redact_text
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.digests import canonical_json, digest, digest_bytes
from qmtl_worlds.contracts.errors import RunStateError

RUN_KINDS: Final = ("evaluation.recorded", "evaluation.failed")

TIMES: Final = ("as_of", "now", "slot", "started_at", "finished_at")
"""The times of a run."""

Chunk = tuple[str, str, bytes]
"""First key, last key, packed decisions."""


@dataclass(frozen=True, slots=True)
class RunStart:
    """An evaluation about to run; ``slot`` is the due time of a scheduled one.

    ``now`` is the world's time of the call, where that is not the act's: a replay has a clock of its own.
    """

    world_id: str
    run_id: str
    kind: RunKind
    as_of: datetime
    engine_version: str
    slot: datetime | None = None
    now: datetime | None = None


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What an evaluation read and decided; ``state`` is ok or inconclusive.

    ``decision`` is the decision's canonical JSON, ``chunks`` its decisions per instance sorted by key. ``inputs`` names
    the blocks, revisions and streaks that were read; ``inputs_digest`` covers their content.
    """

    state: AuditRunState
    decision: bytes
    inputs: object
    inputs_digest: str
    policy_version: int
    policy_checksum: str
    instance_count: int
    chunks: Sequence[Chunk] = ()
    highlights: Mapping[HighlightKind, Sequence[str]] = field(default_factory=dict)


@transaction.atomic
def start_run(*, start: RunStart, act: Act) -> tuple[AuditRun, bool]:
    """Make the record of a starting evaluation, or find the one with its run id; the flag says whether it was made.

    Of two starts at once, one makes it.
    """
    return AuditRun.objects.get_or_create(
        world_id=start.world_id,
        run_id=start.run_id,
        defaults={
            "kind": start.kind,
            "as_of": start.as_of,
            "now": start.now or act.now,
            "slot": start.slot,
            "engine_version": start.engine_version,
            "actor": redact_text(act.actor),
            "reason": redact_text(act.reason),
            "request_id": act.request_id,
            "started_at": act.now,
        },
    )


@transaction.atomic
def finish_run(*, run: AuditRun, outcome: RunOutcome, act: Act) -> AuditRun:
    """Store what a running evaluation decided, for ever, and record the digests of it in the world's chain.

    ``act.now`` is when it finished. Call it in the transaction that stores the streaks.

    Raises:
        RunStateError: the run is not running any more.
        ValueError: the outcome's state is neither ok nor inconclusive.
    """
    if outcome.state not in {AuditRunState.OK, AuditRunState.INCONCLUSIVE}:
        raise ValueError(f"An evaluation does not finish as {outcome.state}.")
    run.state = outcome.state
    run.policy_version = outcome.policy_version
    run.policy_checksum = outcome.policy_checksum
    run.inputs_json = canonical_json(outcome.inputs).decode()
    run.inputs_digest = outcome.inputs_digest
    run.instance_count = outcome.instance_count
    run.envelope = zlib.compress(outcome.decision)
    run.decision_digest = digest_bytes(outcome.decision)
    run.chunks_digest = chunks_digest(outcome.chunks)
    _close(run, act)
    _insert_parts(run, outcome)
    return _recorded(run, "evaluation.recorded", act, outcome.highlights)


@transaction.atomic
def fail_run(*, run: AuditRun, error: str, act: Act) -> AuditRun:
    """Close a running evaluation that could not decide; ``error`` is a sentence for people.

    Raises:
        RunStateError: the run is not running any more.
    """
    run.state = AuditRunState.ERROR
    run.error = redact_text(error).replace("\x00", "")
    _close(run, act)
    return _recorded(run, "evaluation.failed", act, {})


def chunks_digest(chunks: Iterable[Chunk]) -> str:
    """Return the digest of decisions per instance, in the order of their keys; of none too."""
    hasher = hashlib.sha256()
    for first_key, last_key, data in chunks:
        hasher.update(canonical_json([first_key, last_key, digest_bytes(data)]) + b"\n")
    return f"sha256:{hasher.hexdigest()}"


def highlights_digest(highlights: Iterable[tuple[str, str]]) -> str:
    """Return the digest of (kind, key) of the instances that stand out, sorted; of none too."""
    return digest(list(highlights))


def facts_of(run: AuditRun) -> dict[str, object]:
    """Return what the world's chain holds of a finished run, but for its highlights; ``audit_verify`` compares them.

    The number of the row is a fact, since the newest run is the one with the highest.
    """
    return {
        "row": run.pk,
        "state": run.state,
        "kind": run.kind,
        "envelope": digest_bytes(bytes(run.envelope)),
        "policy_checksum": run.policy_checksum,
        "engine_version": run.engine_version,
        "inputs": digest_bytes(run.inputs_json.encode()),
        "inputs_digest": run.inputs_digest,
        "instance_count": run.instance_count,
        "decision_digest": run.decision_digest,
        "chunks_digest": run.chunks_digest,
        "error": run.error,
        "actor": run.actor,
        "reason": run.reason,
        "request_id": run.request_id,
        **{name: text_of_time(getattr(run, name)) for name in TIMES},
    }


def text_of_time(time: datetime | None) -> str | None:
    """Return a time as the chain holds it: ISO 8601 in UTC with microseconds."""
    return None if time is None else time.astimezone(UTC).isoformat(timespec="microseconds")


def _insert_parts(run: AuditRun, outcome: RunOutcome) -> None:
    AuditChunk.objects.bulk_create(
        AuditChunk(run=run, first_key=first, last_key=last, data=data) for first, last, data in outcome.chunks
    )
    AuditHighlight.objects.bulk_create(
        AuditHighlight(run=run, kind=kind, key=key) for kind, keys in outcome.highlights.items() for key in keys
    )


def _close(run: AuditRun, act: Act) -> None:
    """Write a run's last state if it is still running; of two that close it, one can."""
    run.finished_at = act.now
    values = {name: getattr(run, name) for name in _WRITTEN_AT_THE_END}
    if not AuditRun.objects.filter(pk=run.pk, state=AuditRunState.RUNNING).update(**values):
        raise RunStateError(run.run_id, state=AuditRun.objects.get(pk=run.pk).state, wanted="finished")


def _recorded(run: AuditRun, kind: str, act: Act, highlights: Mapping[HighlightKind, Sequence[str]]) -> AuditRun:
    pairs = sorted((str(name), key) for name, keys in highlights.items() for key in keys)
    record(
        chain=run.world_id,
        kind=kind,
        act=act,
        after=facts_of(run) | {"highlights": highlights_digest(pairs)},
        run_id=run.run_id,
        policy_version=run.policy_version,
    )
    return run


_WRITTEN_AT_THE_END = (
    "state",
    "policy_version",
    "policy_checksum",
    "inputs_json",
    "inputs_digest",
    "instance_count",
    "envelope",
    "decision_digest",
    "chunks_digest",
    "error",
    "finished_at",
)
