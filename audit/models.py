"""What the audit keeps: events in hash chains, and evaluations with all they decided.

Worlds are named by text, not by foreign key: the audit outlives them. ``audit.triggers`` lets the database itself
refuse every change of a written row.
"""

from __future__ import annotations

import json
import zlib
from typing import ClassVar

from django.db import models

from audit.chain import ChainHead, ChainRow, SignedHead

CHAIN_LENGTH = 80
ACTOR_LENGTH = 200
KEY_LENGTH = 200
ID_LENGTH = 128


class AuditHead(models.Model):
    """The end of one chain; its row is the lock that makes numbers gap-free."""

    chain = models.CharField(max_length=CHAIN_LENGTH, primary_key=True)
    seq = models.BigIntegerField(default=0)
    hash = models.CharField(max_length=71)

    def __str__(self) -> str:
        """Return the chain and how long it is."""
        return f"{self.chain}: {self.seq} rows"

    def chain_head(self) -> ChainHead:
        """Return the end as the verifier sees it."""
        return ChainHead(self.seq, self.hash)


class AuditEvent(models.Model):
    """One transition: who, why, when, what was before and after. Written by ``audit.recorder`` only, never changed.

    ``chain`` is a world id, ``<world>!kill`` or ``_system``. ``before`` and ``after`` are stored as canonical JSON, as
    the hash covers them. ``at`` is the time of the act.
    """

    chain = models.CharField(max_length=CHAIN_LENGTH)
    seq = models.BigIntegerField()
    kind = models.CharField(max_length=64)
    actor = models.CharField(max_length=ACTOR_LENGTH)
    reason = models.TextField(blank=True)
    subject = models.CharField(max_length=KEY_LENGTH, blank=True)
    before_json = models.TextField(default="null")
    after_json = models.TextField(default="null")
    run_id = models.CharField(max_length=ID_LENGTH, blank=True)
    policy_version = models.IntegerField(null=True, blank=True)
    request_id = models.CharField(max_length=ID_LENGTH, blank=True)
    at = models.DateTimeField()
    prev_hash = models.CharField(max_length=71)
    hash = models.CharField(max_length=71)

    class Meta:
        ordering: ClassVar = ["chain", "seq"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["chain", "seq"], name="audit_event_chain_seq")]
        indexes: ClassVar = [
            models.Index(fields=["chain", "kind", "seq"], name="audit_event_kind"),
            models.Index(fields=["chain", "run_id"], name="audit_event_run"),
            models.Index(fields=["request_id"], name="audit_event_request"),
        ]

    def __str__(self) -> str:
        """Return where the event stands and its kind."""
        return f"{self.chain} {self.seq} {self.kind}"

    @property
    def before(self) -> object:
        """Return the JSON value from before the change, None where there was none."""
        return json.loads(self.before_json)

    @property
    def after(self) -> object:
        """Return the JSON value from after the change, None where nothing is left."""
        return json.loads(self.after_json)

    def chain_row(self) -> ChainRow:
        """Return the event as the verifier sees it."""
        return ChainRow(
            chain=self.chain,
            seq=self.seq,
            kind=self.kind,
            actor=self.actor,
            reason=self.reason,
            subject=self.subject,
            before=self.before_json,
            after=self.after_json,
            run_id=self.run_id,
            policy_version=self.policy_version,
            request_id=self.request_id,
            at=self.at.isoformat(timespec="microseconds"),
            prev_hash=self.prev_hash,
        )


class Checkpoint(models.Model):
    """The end of a chain at one time, signed: whoever lacks the key cannot rewrite what lies before. Never changed.

    ``signature`` is Ed25519 in hex over ``audit.signatures.statement`` of the other columns.
    """

    chain = models.CharField(max_length=CHAIN_LENGTH)
    seq = models.BigIntegerField()
    hash = models.CharField(max_length=71)
    created_at = models.DateTimeField(db_index=True)
    key_id = models.CharField(max_length=40)
    signature = models.CharField(max_length=128)

    class Meta:
        ordering: ClassVar = ["chain", "seq"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["chain", "seq", "key_id"], name="audit_checkpoint_once")
        ]

    def __str__(self) -> str:
        """Return the row that is signed."""
        return f"{self.chain} {self.seq}"

    def signed_head(self) -> SignedHead:
        """Return the checkpoint as the verifier sees it."""
        created_at = self.created_at.isoformat(timespec="microseconds")
        return SignedHead(self.chain, self.seq, self.hash, created_at, self.key_id, self.signature)


class RunKind(models.TextChoices):
    """Why an evaluation ran."""

    SCHEDULED = "scheduled"
    MANUAL = "manual"
    ADVISORY = "advisory"


class AuditRunState(models.TextChoices):
    """Where an evaluation is; all but running are final, and are the decision's verdict."""

    RUNNING = "running"
    OK = "ok"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


class AuditRun(models.Model):
    """One evaluation: what it read (by digest and revision), what it decided, and on whose word.

    Written by ``audit.runs`` only. Changed while running, never after. ``envelope`` is the decision's canonical JSON,
    compressed; ``decision_digest`` covers it uncompressed, ``chunks_digest`` the decisions per instance.
    """

    world_id = models.CharField(max_length=63)
    run_id = models.CharField(max_length=ID_LENGTH)
    kind = models.CharField(max_length=16, choices=RunKind.choices)
    state = models.CharField(max_length=16, choices=AuditRunState.choices, default=AuditRunState.RUNNING)
    as_of = models.DateTimeField()
    now = models.DateTimeField()
    slot = models.DateTimeField(null=True, blank=True)
    policy_version = models.IntegerField(null=True, blank=True)
    policy_checksum = models.CharField(max_length=71, blank=True)
    engine_version = models.CharField(max_length=32)
    inputs_json = models.TextField(default="null")
    inputs_digest = models.CharField(max_length=71, blank=True)
    instance_count = models.IntegerField(default=0)
    envelope = models.BinaryField(default=b"")
    decision_digest = models.CharField(max_length=71, blank=True)
    chunks_digest = models.CharField(max_length=71, blank=True)
    error = models.TextField(blank=True)
    actor = models.CharField(max_length=ACTOR_LENGTH)
    reason = models.TextField(blank=True)
    request_id = models.CharField(max_length=ID_LENGTH, blank=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["world_id", "-id"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["world_id", "run_id"], name="audit_run_world_run")]
        indexes: ClassVar = [
            models.Index(fields=["world_id", "state", "-id"], name="audit_run_state"),
            models.Index(fields=["world_id", "as_of"], name="audit_run_as_of"),
        ]

    def __str__(self) -> str:
        """Return the world and the run id."""
        return f"{self.world_id} {self.run_id}"

    @property
    def verdict(self) -> str:
        """Return ``ok``, ``inconclusive`` or ``error``; empty while running."""
        return "" if self.state == AuditRunState.RUNNING else self.state

    @property
    def inputs(self) -> object:
        """Return which blocks, revisions and streaks were read."""
        return json.loads(self.inputs_json)

    def decision_bytes(self) -> bytes:
        """Return the decision's canonical JSON; empty while running and after an error."""
        return zlib.decompress(bytes(self.envelope)) if self.envelope else b""


class AuditChunk(models.Model):
    """Up to 250 decisions of one run, sorted by instance key, packed (``contracts.decision_record`` reads them)."""

    run = models.ForeignKey(AuditRun, on_delete=models.PROTECT, related_name="chunks")
    first_key = models.CharField(max_length=KEY_LENGTH)
    last_key = models.CharField(max_length=KEY_LENGTH)
    data = models.BinaryField()

    class Meta:
        ordering: ClassVar = ["run", "first_key"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["run", "first_key"], name="audit_chunk_run_first_key")]

    def __str__(self) -> str:
        """Return which instances the chunk covers."""
        return f"{self.first_key} .. {self.last_key}"


class HighlightKind(models.TextChoices):
    """What operators filter decisions by."""

    PROMOTED = "promoted"
    DEMOTED = "demoted"
    TOPK = "topk"
    BLOCKED = "blocked"


class AuditHighlight(models.Model):
    """One instance that stands out in a run, as a row that can be searched."""

    run = models.ForeignKey(AuditRun, on_delete=models.PROTECT, related_name="highlights")
    key = models.CharField(max_length=KEY_LENGTH)
    kind = models.CharField(max_length=16, choices=HighlightKind.choices)

    class Meta:
        ordering: ClassVar = ["run", "kind", "key"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["run", "kind", "key"], name="audit_highlight_once")]
        indexes: ClassVar = [models.Index(fields=["key", "kind", "run"], name="audit_highlight_key")]

    def __str__(self) -> str:
        """Return the instance and why it stands out."""
        return f"{self.key} {self.kind}"
