from __future__ import annotations

from datetime import UTC, datetime, timedelta

from audit.chain import GENESIS, row_hash
from audit.models import AuditEvent, AuditHead, AuditRun, AuditRunState, HighlightKind, RunKind
from audit.recorder import record
from audit.runs import RunOutcome, RunStart, finish_run, start_run
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.digests import canonical_json

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
CHUNKS = (("a|long", "f|short", b"first"), ("g|long", "z|long", b"second"))


def act(actor: str = "person:alice", *, minute: int = 0, reason: str = "because") -> Act:
    return Act(actor, reason, NOON + timedelta(minutes=minute), request_id="request-1")


def write_events(count: int, *, chain: str = "w1") -> tuple[AuditEvent, ...]:
    return tuple(
        record(
            chain=chain,
            kind="world.updated",
            act=act(minute=minute),
            subject=chain,
            before={"name": f"name {minute}"},
            after={"name": f"name {minute + 1}", "share": 0.1},
        )
        for minute in range(count)
    )


def running_run(run_id: str = "run-1", *, world_id: str = "w1") -> AuditRun:
    start = RunStart(world_id, run_id, RunKind.MANUAL, NOON, "0.1.0")
    return start_run(start=start, act=act())[0]


def outcome(state: AuditRunState = AuditRunState.OK) -> RunOutcome:
    return RunOutcome(
        state=state,
        decision=canonical_json({"topk": ["a|long"], "weights": {"a|long": 0.1}}),
        inputs={"blocks": [[1, 4]]},
        inputs_digest="sha256:" + "1" * 64,
        policy_version=3,
        policy_checksum="sha256:" + "2" * 64,
        instance_count=12,
        chunks=CHUNKS,
        highlights={HighlightKind.PROMOTED: ["c|long", "a|long"], HighlightKind.TOPK: ["a|long"]},
    )


def finished_run(run_id: str = "run-1", *, world_id: str = "w1") -> AuditRun:
    return finish_run(run=running_run(run_id, world_id=world_id), outcome=outcome(), act=act(minute=1))


def chain_anew(chain: str) -> None:
    """Compute every hash of a chain again, as somebody who owns the database and has switched our triggers off."""
    last = GENESIS
    for event in AuditEvent.objects.filter(chain=chain).order_by("seq"):
        event.prev_hash = last
        last = event.hash = row_hash(event.chain_row())
        event.save()
        AuditHead.objects.filter(chain=chain).update(seq=event.seq, hash=last)
