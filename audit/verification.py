"""Checks what the database holds: every chain, every checkpoint, and what is kept elsewhere against both."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from audit.chain import ChainHead, ChainReport, ChainRow, Finding, Link, SignedHead, row_hash, verify_chain
from audit.models import Checkpoint
from audit.signatures import PublicKeys, checkpoint_finding
from audit.stored import Progress, last_seq, stored_checkpoints, stored_hash, stored_heads, stored_rows

_decode = json.JSONDecoder().raw_decode


def verify_stored_chain(chain: str, *, progress: Progress) -> ChainReport:
    """Check one chain and its head; what others append meanwhile is left to the next time."""
    head = stored_heads([chain]).get(chain)
    rows = stored_rows(chain, until=head.seq if head else None, progress=progress)
    report = verify_chain(chain, _links(rows), head=head)
    return report if report.finding else ChainReport(chain, report.count, _beyond_head(chain))


def verify_stored_checkpoints(chain: str, *, trusted: PublicKeys) -> tuple[int, Finding | None]:
    """Check the checkpoints that the database holds of one chain: how many are good, and the first bad one.

    One counts only if its key is among ``trusted``.
    """
    count = 0
    for head, found in stored_checkpoints(chain):
        if head is None:
            return count, Finding(chain, 0, "checkpoint-unreadable", "a checkpoint cannot be read")
        if finding := checkpoint_finding(head, trusted=trusted, found=found):
            return count, finding
        count += 1
    return count, None


def verify_outside_checkpoints(heads: Iterable[SignedHead], *, trusted: PublicKeys) -> tuple[int, tuple[Finding, ...]]:
    """Check that the database holds what checkpoints kept elsewhere sign, and still holds these checkpoints.

    Returns how many are good, and of each chain the first bad one: shows a cut or rewritten chain, whoever did it.
    """
    count = 0
    bad: dict[str, Finding] = {}
    for head in heads:
        if finding := _outside_finding(head, trusted):
            bad.setdefault(head.chain, finding)
        else:
            count += 1
    return count, tuple(bad.values())


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
            if text != "null" and _decode(text)[1] != len(text):
                return ""
        return row_hash(row)
    except (TypeError, ValueError, RecursionError):
        return ""


def _beyond_head(chain: str) -> Finding | None:
    last = last_seq(chain)
    head = stored_heads([chain])[chain]
    if last is None or last > head.seq:
        return Finding(chain, head.seq + 1, "beyond-head", f"the head says {head.seq} rows, there are more")
    return None


def _outside_finding(head: SignedHead, trusted: PublicKeys) -> Finding | None:
    if finding := checkpoint_finding(head, trusted=trusted, found=stored_hash(head.chain, head.seq)):
        return finding
    if Checkpoint.objects.filter(chain=head.chain, seq=head.seq, key_id=head.key_id).exists():
        return None
    return Finding(head.chain, head.seq, "checkpoint-missing", "the database does not hold this checkpoint any more")


def _changed_since(chain: str, head: ChainHead) -> Finding | None:
    stored = stored_hash(chain, head.seq)
    if stored is None:
        return Finding(chain, head.seq, "missing", "the row was exported and is gone")
    if stored != head.hash:
        return Finding(chain, head.seq, "rewritten", "the row has another hash than when it was exported")
    return None
