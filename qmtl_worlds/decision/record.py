"""A decision's rows as columns, and their stored form."""

from __future__ import annotations

import hashlib
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.contracts.decision_record import CHUNK_ROWS, FORMAT, HEADER_LENGTH
from qmtl_worlds.contracts.digests import canonical_json

_LEVEL: Final = 1
"""zlib's fastest level: within a few percent of the best size at a third of the time."""


@dataclass(frozen=True, slots=True, eq=False)
class DecisionTable:
    """One row an instance, sorted by key. ``columns`` are uint8, int16, int32 or float64; ``facts`` is JSON.

    The names of columns and facts are those that ``contracts.decision_steps`` reads.
    """

    keys: tuple[str, ...]
    columns: Mapping[str, NDArray[Any]]
    facts: Mapping[str, Any]

    def find(self, key: str) -> int | None:
        """Return the row of ``key``."""
        position = bisect_left(self.keys, key)
        return position if position < len(self.keys) and self.keys[position] == key else None

    def rows(self, start: int, stop: int) -> DecisionTable:
        """Return the rows from ``start`` up to ``stop``."""
        columns = {name: column[start:stop] for name, column in self.columns.items()}
        return replace(self, keys=self.keys[start:stop], columns=columns)


Chunk = tuple[str, str, bytes]
"""First key, last key, packed rows."""


def encode_chunks(table: DecisionTable) -> list[Chunk]:
    """Return (first key, last key, bytes) for each run of at most 250 rows; ``decode_row`` reads them."""
    return encode_with_digest(table)[0]


def encode_with_digest(table: DecisionTable) -> tuple[list[Chunk], str]:
    """Return the chunks and ``payload_digest``, packing each row once."""
    hasher = hashlib.sha256()
    chunks: list[Chunk] = []
    for keys, payload in _payloads(table):
        hasher.update(payload)
        chunks.append((keys[0], keys[-1], zlib.compress(payload, _LEVEL)))
    return chunks, f"sha256:{hasher.hexdigest()}"


def payload_digest(table: DecisionTable) -> str:
    """Return the digest of all rows before compression, which other zlib versions do differently."""
    hasher = hashlib.sha256()
    for _, payload in _payloads(table):
        hasher.update(payload)
    return f"sha256:{hasher.hexdigest()}"


def _payloads(table: DecisionTable) -> Iterator[tuple[tuple[str, ...], bytes]]:
    constants = {name: _cell(column) for name, column in table.columns.items() if _is_constant(column)}
    varying = replace(table, columns={name: table.columns[name] for name in table.columns.keys() - constants.keys()})
    head = {
        "format": FORMAT,
        "columns": [[name, _kind(varying.columns[name])] for name in sorted(varying.columns)],
        "constants": constants,
        "facts": table.facts,
    }
    for start in range(0, len(table.keys), CHUNK_ROWS):
        part = varying.rows(start, start + CHUNK_ROWS)
        yield part.keys, _payload(part, head)


def _payload(part: DecisionTable, head: Mapping[str, Any]) -> bytes:
    keys = "\n".join(part.keys).encode()
    header = canonical_json({**head, "rows": len(part.keys), "keys": len(keys)})
    cells = [_cells(part.columns[name]) for name, _ in head["columns"]]
    return b"".join([HEADER_LENGTH.pack(len(header)), header, keys, *cells])


def _is_constant(column: NDArray[Any]) -> bool:
    """Tell whether all rows are equal, NaN being equal to NaN: such a column is stored once."""
    return bool((column == column[:1]).all() or (column.dtype.kind == "f" and np.isnan(column).all()))


def _cell(column: NDArray[Any]) -> float | None:
    value = column[:1].tolist()
    return value[0] if value and value[0] == value[0] else None


def _kind(column: NDArray[Any]) -> str:
    return f"<{column.dtype.kind}{column.dtype.itemsize}"


def _cells(column: NDArray[Any]) -> bytes:
    if column.dtype.kind == "f":
        return np.ascontiguousarray(column, dtype="<f8").view(np.uint8).reshape(-1, 8).T.tobytes()
    return column.astype(column.dtype.newbyteorder("<"), copy=False).tobytes()
