"""Reads chains from the database in pages, for checking and for export: no long statement, no long transaction.

Columns are read as they are stored, times as text: another text that reads as the same value, such as a time with a
``T`` in SQLite, must not pass for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from django.db import DatabaseError, connection

from audit.chain import ChainHead, ChainRow, SignedHead, kill_chain

Progress = Callable[[int], None]
"""Told how many rows were read since it was told last."""

PAGE: Final = 5_000
UNREADABLE: Final = (ValueError, TypeError, AttributeError, LookupError, DatabaseError)
"""What reading a row raises whose bytes are no value of its columns."""

_SEQ: Final = ChainRow._fields.index("seq")
_VERSION: Final = ChainRow._fields.index("policy_version")
_STORED_NAMES: Final = {"before": "before_json", "after": "after_json"}
_TIMES: Final = frozenset({"at", "created_at"})
_TEXT_OF_TIME: Final = {
    # Django writes "YYYY-MM-DD hh:mm:ss[.ffffff]".
    "sqlite": (
        "substr({0}, 1, 10) || CASE substr({0}, 11, 1) WHEN ' ' THEN 'T' ELSE '?' END || substr({0}, 12)"
        " || CASE length({0}) WHEN 19 THEN '.000000' ELSE '' END || '+00:00'"
    ),
    "postgresql": """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')""",
}
_BYTES_OF_TEXT: Final = {"sqlite": "CAST(chain AS BLOB)", "postgresql": "convert_to(chain, 'UTF8')"}
_CHAINS: Final = (
    "SELECT {0} FROM audit_audithead UNION SELECT {0} FROM audit_auditevent UNION SELECT {0} FROM audit_checkpoint"
)
_ROWS: Final = "SELECT {} FROM audit_auditevent WHERE {} ORDER BY seq LIMIT %s"
_CHECKPOINT_NUMBERS: Final = "SELECT id FROM audit_checkpoint WHERE chain = %s AND id > %s ORDER BY id LIMIT %s"
_CHECKPOINTS: Final = (
    "SELECT {}, (SELECT hash FROM audit_auditevent e WHERE e.chain = c.chain AND e.seq = c.seq) "
    "FROM audit_checkpoint c WHERE c.chain = %s AND c.id BETWEEN %s AND %s ORDER BY c.id"
)


def stored_chains(only: str | None = None) -> tuple[str, ...]:
    """List every chain that has a head, a row or a checkpoint, sorted; or of those just world ``only`` and its kills.

    Bytes that are no text show as U+FFFD.
    """
    found = _fetch(_CHAINS.format(_BYTES_OF_TEXT[connection.vendor]))
    names = {bytes(value).decode(errors="replace") for (value,) in found}
    return tuple(sorted(name for name in names if only is None or name in {only, kill_chain(only)}))


def stored_heads(chains: Sequence[str]) -> dict[str, ChainHead]:
    """Return where each of ``chains`` ends by its head row, in their order; those without one are left out.

    A head row that cannot be read says ``(0, "")``, which no chain ends with.
    """
    heads = ((chain, _stored_head(chain)) for chain in chains)
    return {chain: head for chain, head in heads if head is not None}


def stored_rows(chain: str, *, until: int | None, progress: Progress) -> Iterator[tuple[ChainRow, str]]:
    """Yield the rows of one chain with their stored hashes, ascending, up to sequence number ``until``.

    A row that cannot be decoded comes with empty texts and an empty hash.
    """
    where, bounds = ("chain = %s", [chain]) if until is None else ("chain = %s AND seq <= %s", [chain, until])
    page = _page(where, bounds)
    while page:
        yield from page
        progress(len(page))
        page = _page(f"{where} AND seq > %s", [*bounds, page[-1][0].seq])


def last_seq(chain: str) -> int | None:
    """Return the highest sequence number of a chain, 0 without rows, None where it is no number."""
    ((seq,),) = _fetch("SELECT MAX(seq) FROM audit_auditevent WHERE chain = %s", chain)
    if seq is None:
        return 0
    return seq if isinstance(seq, int) else None


def stored_hash(chain: str, seq: int) -> str | None:
    """Return the hash that a row holds, None where it is gone, nothing where it cannot be read."""
    try:
        found = _fetch("SELECT hash FROM audit_auditevent WHERE chain = %s AND seq = %s", chain, seq)
    except UNREADABLE:
        return ""
    return str(found[0][0]) if found else None


def stored_checkpoints(chain: str) -> Iterator[tuple[SignedHead | None, str | None]]:
    """Yield the checkpoints of a chain as they were made, each with the hash that the signed row has now.

    The hash is None where the row is gone; a checkpoint that cannot be read is None.
    """
    last = 0
    while numbers := [number for (number,) in _fetch(_CHECKPOINT_NUMBERS, chain, last, PAGE)]:
        yield from _checkpoints(chain, numbers)
        last = numbers[-1]


def texts_of_times(table: str, names: Sequence[str], rows: Sequence[int]) -> dict[int, tuple[str | None, ...]]:
    """Return, by the row's id, what the database holds in columns of times, as text."""
    columns = ", ".join(_text_of_time(name) for name in names)
    numbers = ", ".join(["%s"] * len(rows))
    found = _fetch(f"SELECT id, {columns} FROM {table} WHERE id IN ({numbers})", *rows)  # noqa: S608 - names are ours
    return {number: tuple(texts) for number, *texts in found}


def _stored_head(chain: str) -> ChainHead | None:
    try:
        found = _fetch("SELECT seq, hash FROM audit_audithead WHERE chain = %s", chain)
    except UNREADABLE:
        return ChainHead(0, "")
    if not found:
        return None
    seq, digest = found[0]
    return ChainHead(seq, digest) if isinstance(seq, int) and isinstance(digest, str) else ChainHead(0, "")


def _page(where: str, bounds: list[Any]) -> list[tuple[ChainRow, str]]:
    try:
        found = _fetch(_ROWS.format(_columns((*ChainRow._fields, "hash")), where), *bounds, PAGE)
        return [_row(values) for values in found]
    except UNREADABLE:
        numbers = _fetch(_ROWS.format("id, seq", where), *bounds, PAGE)
        return [_single(number, seq) for number, seq in numbers]


def _single(number: int, seq: Any) -> tuple[ChainRow, str]:
    try:
        return _row(_fetch(_ROWS.format(_columns((*ChainRow._fields, "hash")), "id = %s"), number, 1)[0])
    except UNREADABLE:
        readable: Any = seq if isinstance(seq, int | float) else 0  # SQLite stores what it is given
        return ChainRow("", readable, "", "", "", "", "", "", "", None, "", "", ""), ""


def _row(values: tuple[Any, ...]) -> tuple[ChainRow, str]:
    seq, version, digest = values[_SEQ], values[_VERSION], values[-1]
    if not isinstance(seq, int) or not isinstance(version, int | None) or not isinstance(digest, str):
        raise TypeError("A number or a hash of the event cannot be read.")
    return ChainRow._make(values[:-1]), digest


def _checkpoints(chain: str, numbers: Sequence[int]) -> Iterator[tuple[SignedHead | None, str | None]]:
    """Read checkpoints at once, or one by one where one of them cannot be read."""
    query = _CHECKPOINTS.format(_columns(SignedHead._fields))
    try:
        yield from [_checkpoint(values) for values in _fetch(query, chain, numbers[0], numbers[-1])]
    except UNREADABLE:
        if len(numbers) == 1:
            yield None, None
            return
        for number in numbers:
            yield from _checkpoints(chain, [number])


def _checkpoint(values: Sequence[Any]) -> tuple[SignedHead, str | None]:
    *fields, digest = values
    return SignedHead._make(fields), digest


def _columns(names: Sequence[str]) -> str:
    return ", ".join(_text_of_time(name) if name in _TIMES else _STORED_NAMES.get(name, name) for name in names)


def _text_of_time(name: str) -> str:
    return _TEXT_OF_TIME[connection.vendor].format(name)


def _fetch(query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
