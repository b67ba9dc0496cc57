"""Reads chains from the database in pages, for checking and for export: no long statement, no long transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final

from django.db import DatabaseError
from django.db.models import QuerySet

from audit.chain import ChainHead, ChainRow, kill_chain
from audit.models import AuditEvent, AuditHead

Progress = Callable[[int], None]
"""Told how many rows were read since it was told last."""

PAGE: Final = 5_000
_JSON_FIELDS: Final = {"before": "before_json", "after": "after_json"}
_FIELDS: Final = tuple(_JSON_FIELDS.get(name, name) for name in (*ChainRow._fields, "hash"))
_AT: Final = _FIELDS.index("at")
_UNREADABLE: Final = (ValueError, TypeError, AttributeError, DatabaseError)


def stored_chains(only: str | None = None) -> tuple[str, ...]:
    """List every chain that has a head or a row, sorted; or of those just world ``only`` and its kills."""
    heads = AuditHead.objects.values_list("chain", flat=True)
    rows = AuditEvent.objects.order_by().values_list("chain", flat=True).distinct()
    return tuple(sorted(name for name in {*heads, *rows} if only is None or name in {only, kill_chain(only)}))


def stored_heads(chains: Sequence[str]) -> dict[str, ChainHead]:
    """Return where each of ``chains`` ends by its head row, in their order; those without one are left out."""
    heads = AuditHead.objects.in_bulk(chains)
    return {chain: heads[chain].chain_head() for chain in chains if chain in heads}


def stored_rows(chain: str, *, until: int | None, progress: Progress) -> Iterator[tuple[ChainRow, str]]:
    """Yield the rows of one chain with their stored hashes, ascending, up to sequence number ``until``.

    A row that cannot be decoded comes with empty texts and an empty hash.
    """
    rows = AuditEvent.objects.filter(chain=chain).order_by("seq")
    if until is not None:
        rows = rows.filter(seq__lte=until)
    page = _page(rows)
    while page:
        yield from page
        progress(len(page))
        page = _page(rows.filter(seq__gt=page[-1][0].seq))


def _page(rows: QuerySet[AuditEvent]) -> list[tuple[ChainRow, str]]:
    try:
        return [_row(values) for values in rows.values_list(*_FIELDS)[:PAGE]]
    except _UNREADABLE:
        return [_single(rows, seq) for seq in list(rows.values_list("seq", flat=True)[:PAGE])]


def _single(rows: QuerySet[AuditEvent], seq: int) -> tuple[ChainRow, str]:
    try:
        return _row(rows.values_list(*_FIELDS).get(seq=seq))
    except _UNREADABLE:
        return ChainRow("", seq, "", "", "", "", "", "", "", None, "", "", ""), ""


def _row(values: tuple[object, ...]) -> tuple[ChainRow, str]:
    at = values[_AT]
    if not isinstance(at, datetime):
        raise TypeError("The time of the event cannot be read.")
    text = at.isoformat(timespec="microseconds")
    return ChainRow._make((*values[:_AT], text, *values[_AT + 1 : -1])), str(values[-1])
