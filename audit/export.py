"""The audit as a file that proves itself: JSON Lines, checked without a database or a framework.

The first line, ``{"checkpoints":n,"heads":{"<chain>":{"hash":"sha256:...","seq":n}}}``, says where each chain ends and
how many checkpoints follow (``audit.signatures``). Every further line is ``{"event":<document>,"hash":"sha256:..."}``;
the hash is that of the document's bytes as they stand in the line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Final

from audit.chain import ChainHead, ChainReport, ChainRow, Finding, Link, SignedHead, document, verify_chain
from audit.signatures import PublicKeys, checkpoint_finding, read_checkpoints
from qmtl_worlds.contracts.digests import canonical_json, digest_bytes

_EVENT: Final = b'{"event":'
_HASH: Final = b',"hash":"'
_END: Final = b'"}'
_NO_HEADS: Final = "The first line does not say where the chains end."
_TOO_FEW: Final = Finding("", 0, "checkpoint-missing", "the file holds fewer checkpoints than its first line says")


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was found in a file: one report a chain, how many checkpoints are good, and what is wrong with others."""

    chains: tuple[ChainReport, ...]
    checkpoint_count: int = 0
    others: tuple[Finding, ...] = ()


def first_line(heads: Mapping[str, ChainHead], *, checkpoint_count: int) -> bytes:
    """Return the first line, without its end."""
    ends = {chain: head._asdict() for chain, head in heads.items()}
    return canonical_json({"checkpoints": checkpoint_count, "heads": ends})


def event_line(row: ChainRow, stored: str) -> bytes:
    """Return the line of one event, without its end; ``stored`` is the hash that its row holds."""
    return _EVENT + document(row) + _HASH + stored.encode() + _END


def read_heads(line: bytes) -> dict[str, ChainHead]:
    """Return where each chain ends, from the first line.

    Raises:
        ValueError: the line does not say so.
    """
    return _read_first(line)[0]


def verify_export(
    lines: Iterable[bytes], *, trusted: PublicKeys | None = None, outside: Sequence[SignedHead] = ()
) -> ExportReport:
    """Check an exported file: every row, every end, every checkpoint in it, and those kept ``outside`` of it.

    Rows of one chain stand together, ascending; of each chain the first bad row is told. A line that cannot be read
    counts as an altered row. A checkpoint counts only if its key is among ``trusted``.
    """
    rest = iter(lines)
    try:
        heads, count = _read_first(next(rest, b""))
    except ValueError as error:
        return ExportReport((ChainReport("", 0, Finding("", 0, "unreadable", str(error))),))
    inside, unreadable = read_checkpoints(islice(rest, count))
    checkpoints = (*inside, *outside)
    found: dict[tuple[str, int], str | None] = {(head.chain, head.seq): None for head in checkpoints}
    chains = _verify_chains(rest, heads, found)
    good, bad = _verify_checkpoints(checkpoints, found, trusted or {})
    lost = () if len(inside) + len(unreadable) == count else (_TOO_FEW,)
    return ExportReport(chains, good, (*unreadable, *lost, *bad))


def _verify_checkpoints(
    heads: Sequence[SignedHead], found: Mapping[tuple[str, int], str | None], trusted: PublicKeys
) -> tuple[int, tuple[Finding, ...]]:
    """Count the good ones, and tell the first bad one of each chain."""
    bad: dict[str, Finding] = {}
    good = 0
    for head in heads:
        finding = checkpoint_finding(head, trusted=trusted, found=found[head.chain, head.seq])
        if finding is None:
            good += 1
        else:
            bad.setdefault(head.chain, finding)
    return good, tuple(bad.values())


def _verify_chains(
    lines: Iterator[bytes], heads: Mapping[str, ChainHead], found: dict[tuple[str, int], str | None]
) -> tuple[ChainReport, ...]:
    """Check the chains, and note the hash of each row that ``found`` asks for."""
    links = _noted(_links(lines), found)
    reports = [
        verify_chain(chain, group, head=heads.get(chain))
        for chain, group in groupby(links, key=lambda link: link.chain)
    ]
    empty = sorted(heads.keys() - {report.chain for report in reports})
    return (*reports, *(verify_chain(chain, (), head=heads[chain]) for chain in empty))


def _noted(links: Iterator[Link], found: dict[tuple[str, int], str | None]) -> Iterator[Link]:
    for link in links:
        if link[:2] in found:
            found[link[:2]] = link.computed
        yield link


def _links(lines: Iterator[bytes]) -> Iterator[Link]:
    chain, seq = "", 0
    for line in lines:
        link = _link(line.rstrip(b"\r\n")) or Link(chain, seq + 1, "", "", "unreadable")
        chain, seq = link.chain, link.seq
        yield link


def _link(line: bytes) -> Link | None:
    body, found, stored = line.removeprefix(_EVENT).rpartition(_HASH)
    if not found or not line.startswith(_EVENT) or not line.endswith(_END):
        return None
    try:
        event = json.loads(body)
        chain, seq, before = event["chain"], event["seq"], event["prev_hash"]
        if type(seq) is int and isinstance(chain, str) and isinstance(before, str):
            return Link(chain, seq, before, stored.removesuffix(_END).decode(), digest_bytes(body))
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return None


def _read_first(line: bytes) -> tuple[dict[str, ChainHead], int]:
    try:
        facts = json.loads(line)
        heads = {chain: ChainHead(head["seq"], head["hash"]) for chain, head in facts["heads"].items()}
        count = facts.get("checkpoints", 0)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(_NO_HEADS) from error
    if not all(type(head.seq) is int for head in heads.values()) or type(count) is not int or count < 0:
        raise ValueError(_NO_HEADS)
    return heads, count
