"""The hash chain: what an event's hash covers, and how a chain is checked. Standard library only.

``hash = sha256(canonical JSON of every field of the row, prev_hash included)``, so a changed byte, a missing row, two
swapped rows and a cut tail all show, on the database or on an exported file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from json.encoder import encode_basestring
from typing import Final, NamedTuple

GENESIS: Final = "sha256:" + "0" * 64
"""The ``prev_hash`` of the first row of every chain."""
SYSTEM_CHAIN: Final = "_system"
"""The chain of what belongs to no world."""
KILL_SUFFIX: Final = "!kill"
"""Ends the name of a chain of kills."""


class ChainRow(NamedTuple):
    """One event as the chain sees it; a tuple, because a verifier makes a million of them.

    ``before`` and ``after`` are canonical JSON texts, ``at`` is ISO 8601 with microseconds and ``+00:00``.
    """

    chain: str
    seq: int
    kind: str
    actor: str
    reason: str
    subject: str
    before: str
    after: str
    run_id: str
    policy_version: int | None
    request_id: str
    at: str
    prev_hash: str


class Link(NamedTuple):
    """One row of a chain as far as the chain goes: what it says of itself, and the hash that its content really has.

    ``computed`` is empty where the content cannot be read.
    """

    chain: str
    seq: int
    prev_hash: str
    hash: str
    computed: str


class ChainHead(NamedTuple):
    """Where a chain ends: the last sequence number and its hash."""

    seq: int
    hash: str


class SignedHead(NamedTuple):
    """Where a chain ended at ``created_at``, on the word of a key.

    ``created_at`` is ISO 8601 with microseconds and ``+00:00``, ``signature`` 64 bytes in lower-case hex.
    """

    chain: str
    seq: int
    hash: str
    created_at: str
    key_id: str = ""
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and at which row. ``code`` is stable; ``seq`` is 0 where no row is to blame."""

    chain: str
    seq: int
    code: str
    detail: str

    def __str__(self) -> str:
        """Return ``chain row seq: detail [code]``."""
        return f"{self.chain} row {self.seq}: {self.detail} [{self.code}]"


@dataclass(frozen=True, slots=True)
class ChainReport:
    """The result for one chain: rows found good before the first bad one, and that one if any."""

    chain: str
    count: int
    finding: Finding | None = None


def kill_chain(world_id: str) -> str:
    """Name the chain of a world's kills, which never waits for the world's own chain (I22).

    ``!`` occurs in no world id, so it meets no other chain.
    """
    return world_id + KILL_SUFFIX


def document(row: ChainRow) -> bytes:
    """Return the bytes that the hash of ``row`` covers: ``canonical_json`` of its fields, built without parsing."""
    text = encode_basestring
    version = "null" if row.policy_version is None else row.policy_version
    return (
        f'{{"actor":{text(row.actor)},"after":{row.after},"at":{text(row.at)},"before":{row.before},'
        f'"chain":{text(row.chain)},"kind":{text(row.kind)},"policy_version":{version},'
        f'"prev_hash":{text(row.prev_hash)},"reason":{text(row.reason)},"request_id":{text(row.request_id)},'
        f'"run_id":{text(row.run_id)},"seq":{row.seq},"subject":{text(row.subject)}}}'
    ).encode()


def row_hash(row: ChainRow) -> str:
    """Return the hash of one row."""
    return f"sha256:{sha256(document(row)).hexdigest()}"


def verify_chain(chain: str, links: Iterable[Link], *, head: ChainHead | None) -> ChainReport:
    """Check the links of one chain, ascending by sequence number, and its end; stop at the first bad row.

    ``head`` is what the head row says, None where there is none.
    """
    last = ChainHead(0, GENESIS)
    for link in links:
        if finding := _link_finding(chain, link, last):
            return ChainReport(chain, last.seq, finding)
        last = ChainHead(link.seq, link.hash)
    return ChainReport(chain, last.seq, _head_finding(chain, last, head))


def _link_finding(chain: str, link: Link, last: ChainHead) -> Finding | None:
    wanted = last.seq + 1
    if link.seq > wanted:
        return Finding(chain, wanted, "missing", f"the row is missing; the next one found is {link.seq}")
    if link.seq < wanted:
        return Finding(chain, link.seq, "repeated", f"the row comes again after {last.seq}")
    if not link.computed or link.computed != link.hash:
        return Finding(chain, link.seq, "altered", "its content does not match its hash")
    if link.prev_hash != last.hash:
        return Finding(chain, link.seq, "unlinked", f"it does not follow the hash of row {last.seq}")
    return None


def _head_finding(chain: str, last: ChainHead, head: ChainHead | None) -> Finding | None:
    if head is None:
        return Finding(chain, 0, "head-missing", f"there is no head for {last.seq} rows")
    if head.seq > last.seq:
        return Finding(chain, last.seq + 1, "tail-missing", f"the head says {head.seq} rows, found are {last.seq}")
    if head.seq < last.seq:
        return Finding(chain, head.seq + 1, "beyond-head", f"the head says {head.seq} rows, found are {last.seq}")
    if head.hash != last.hash:
        return Finding(chain, last.seq, "head-altered", "the head holds another hash than the last row")
    return None
