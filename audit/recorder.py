"""The only writer of audit events."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC
from typing import Final, Required, TypedDict, Unpack

from django.db import connection, transaction

from audit.chain import GENESIS, row_hash
from audit.events import check_kind
from audit.models import ACTOR_LENGTH, CHAIN_LENGTH, ID_LENGTH, KEY_LENGTH, AuditEvent, AuditHead
from audit.redaction import redact, redact_text
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.digests import canonical_json
from qmtl_worlds.contracts.errors import InputInvalidError

_HEAD: Final = "SELECT seq, hash FROM audit_audithead WHERE chain = %s"
_MOVE: Final = "UPDATE audit_audithead SET seq = %s, hash = %s WHERE chain = %s AND seq = %s"
_COLUMNS: Final = (
    "chain",
    "seq",
    "kind",
    "actor",
    "reason",
    "subject",
    "before_json",
    "after_json",
    "run_id",
    "policy_version",
    "request_id",
    "prev_hash",
    "hash",
    "at",
)
_INSERT: Final = (
    f"INSERT INTO audit_auditevent ({', '.join(_COLUMNS)}) "  # noqa: S608 - only names of columns
    f"VALUES ({', '.join(['%s'] * len(_COLUMNS))}) RETURNING id"
)
"""Written out, since every change of anything asks for them."""
_LIMITS: Final = {
    "chain": CHAIN_LENGTH,
    "actor": ACTOR_LENGTH,
    "subject": KEY_LENGTH,
    "run_id": ID_LENGTH,
    "request_id": ID_LENGTH,
}


class EventFacts(TypedDict, total=False):
    """What an event may say beyond chain, kind and act.

    ``before`` and ``after`` are JSON values; ``subject`` names what changed, such as ``strategy_id|side``.
    """

    subject: str
    before: object
    after: object
    run_id: str
    policy_version: int | None


class NewEvent(EventFacts):
    """What an event says, with its kind."""

    kind: Required[str]


def record(*, chain: str, kind: str, act: Act, **facts: Unpack[EventFacts]) -> AuditEvent:
    """Append one event to ``chain``, as ``record_all`` does."""
    (event,) = record_all(chain=chain, act=act, events=[{"kind": kind, **facts}])
    return event


def record_all(*, chain: str, act: Act, events: Iterable[NewEvent]) -> list[AuditEvent]:
    """Append events to ``chain``, in the caller's transaction: they are there if and only if the change is.

    ``chain`` is a world id, ``audit.chain.kill_chain(world_id)`` or ``SYSTEM_CHAIN``. Writers of one chain wait for
    each other until commit, so record late in a transaction, and a world's chain before ``SYSTEM_CHAIN``. Credentials
    are masked. The events' time is ``act.now``.

    Raises:
        TransactionManagementError: there is no open transaction.
        ValueError: a kind is not registered, ``act.now`` is naive, or a value is no JSON, NaN or infinite.
        InputInvalidError: a text holds what the database cannot.
    """
    rows = [_event(chain, check_kind(event["kind"]), act, event) for event in events]
    before, last_hash = _locked_head(chain)
    for seq, event in enumerate(rows, before + 1):
        event.seq, event.prev_hash = seq, last_hash
        event.hash = last_hash = row_hash(event.chain_row())
        _append(event)
    return rows


def _event(chain: str, kind: str, act: Act, facts: EventFacts) -> AuditEvent:
    if act.now.tzinfo is None:
        raise ValueError("Act.now must be an aware time.")
    return AuditEvent(
        chain=_storable("chain", chain),
        kind=kind,
        actor=_storable("actor", redact_text(act.actor)),
        reason=_storable("reason", redact_text(act.reason)),
        subject=_storable("subject", redact_text(facts.get("subject", ""))),
        before_json=canonical_json(redact(facts.get("before"))).decode(),
        after_json=canonical_json(redact(facts.get("after"))).decode(),
        run_id=_storable("run_id", facts.get("run_id", "")),
        policy_version=facts.get("policy_version"),
        request_id=_storable("request_id", act.request_id),
        at=act.now.astimezone(UTC),
    )


def _locked_head(chain: str) -> tuple[int, str]:
    """Lock the end of the chain until the caller's transaction ends; the first writer of a chain makes it."""
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("An audit event is recorded in the transaction of its change.")
    if (head := _read_head(chain)) is not None:
        return head
    AuditHead.objects.bulk_create([AuditHead(chain=chain, seq=0, hash=GENESIS)], ignore_conflicts=True)
    return _read_head(chain) or (0, GENESIS)


def _read_head(chain: str) -> tuple[int, str] | None:
    lock = " FOR NO KEY UPDATE" if connection.features.has_select_for_no_key_update else ""
    with connection.cursor() as cursor:
        cursor.execute(f"{_HEAD}{lock}", [chain])
        head: tuple[int, str] | None = cursor.fetchone()
    return head


def _append(event: AuditEvent) -> None:
    """Store the row, and make it the end of its chain; one by one, for a trigger keeps the end from jumping."""
    *values, at = (getattr(event, name) for name in _COLUMNS)
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [*values, connection.ops.adapt_datetimefield_value(at)])
        (event.pk,) = cursor.fetchone()
        cursor.execute(_MOVE, [event.seq, event.hash, event.chain, event.seq - 1])
        moved = cursor.rowcount
    if moved != 1:
        raise transaction.TransactionManagementError(
            f"Another writer moved chain {event.chain!r}; nothing was written."
        )


def _storable(field: str, text: str) -> str:
    """Return ``text`` if PostgreSQL can hold it too; SQLite would take anything."""
    if "\x00" in text or len(text) > _LIMITS.get(field, len(text)):
        raise InputInvalidError(field=field, reason="is too long or holds a NUL character")
    return text
