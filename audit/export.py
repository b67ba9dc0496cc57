"""The audit as a file that proves itself: JSON Lines, checked with the standard library and ``audit.chain`` alone.

The first line, ``{"heads":{"<chain>":{"hash":"sha256:...","seq":n}}}``, says where each chain ends. Every further line
is ``{"event":<document>,"hash":"sha256:..."}``; the hash is that of the document's bytes as they stand in the line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Final

from audit.chain import ChainHead, ChainReport, ChainRow, Finding, Link, document, verify_chain
from qmtl_worlds.contracts.digests import canonical_json, digest_bytes

_EVENT: Final = b'{"event":'
_HASH: Final = b',"hash":"'
_END: Final = b'"}'


def heads_line(heads: Mapping[str, ChainHead]) -> bytes:
    """Return the first line, without its end."""
    return canonical_json({"heads": {chain: head._asdict() for chain, head in heads.items()}})


def event_line(row: ChainRow, stored: str) -> bytes:
    """Return the line of one event, without its end; ``stored`` is the hash that its row holds."""
    return _EVENT + document(row) + _HASH + stored.encode() + _END


def read_heads(line: bytes) -> dict[str, ChainHead]:
    """Return where each chain ends, from the first line.

    Raises:
        ValueError: the line does not say so.
    """
    try:
        return {chain: ChainHead(head["seq"], head["hash"]) for chain, head in json.loads(line)["heads"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("The first line does not say where the chains end.") from error


def verify_export(lines: Iterable[bytes]) -> tuple[ChainReport, ...]:
    """Check an exported file: one report a chain, with its first bad row; chains in the order of the file.

    Rows of one chain stand together, ascending. A line that cannot be read counts as an altered row.
    """
    rest = iter(lines)
    try:
        heads = read_heads(next(rest, b""))
    except ValueError as error:
        return (ChainReport("", 0, Finding("", 0, "unreadable", str(error))),)
    reports = [
        verify_chain(chain, links, head=heads.get(chain))
        for chain, links in groupby(_links(rest), key=lambda link: link.chain)
    ]
    empty = sorted(heads.keys() - {report.chain for report in reports})
    return (*reports, *(verify_chain(chain, (), head=heads[chain]) for chain in empty))


def _links(lines: Iterable[bytes]) -> Iterator[Link]:
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
        chain, seq, before = str(event["chain"]), int(event["seq"]), str(event["prev_hash"])
        return Link(chain, seq, before, stored.removesuffix(_END).decode(), digest_bytes(body))
    except (KeyError, TypeError, ValueError):
        return None
