"""The stored form of a decision's many rows, read without numpy: zlib chunks of rows sorted by key.

A chunk is zlib of: the header's length (4 bytes, little endian), the header (JSON), the keys joined by line feeds, then
one column after the other. ``<f8`` columns are byte-transposed (all first bytes, then all second bytes ...), which
compresses better. Floats that are not there are NaN. A column in which all rows of the run are equal stands in the
header, as a constant.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from qmtl_worlds.contracts.decision_steps import OUTCOMES, steps_of
from qmtl_worlds.contracts.errors import InputInvalidError, StrategyNotFoundError
from qmtl_worlds.contracts.gate_steps import VERDICTS, Row, present, reason_of
from qmtl_worlds.contracts.reasons import Outcome, Reason, StepVerdict
from qmtl_worlds.contracts.trace import TraceStep

FORMAT: Final = 1
CHUNK_ROWS: Final = 250
HEADER_LENGTH: Final = struct.Struct("<I")
_UNPACK: Final = {
    "<u1": struct.Struct("<B"),
    "<i2": struct.Struct("<h"),
    "<i4": struct.Struct("<i"),
    "<f8": struct.Struct("<d"),
}
SIZES: Final = {kind: cell.size for kind, cell in _UNPACK.items()}
METRIC_WORDS: Final = ("ok", "insufficient", "undefined", "stale", "missing")
"""The words of a metric's status by its number."""


@dataclass(frozen=True, slots=True)
class RecordedMetric:
    """A metric as the decision saw it; ``value`` is None unless ``status`` is ``ok``."""

    value: float | None
    status: str


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """What one run decided about one instance, and why.

    ``eligibility`` sums up currency, history, gates and score. ``rank`` counts from 1 among the eligible, else None.
    ``weight_before`` and ``weight`` are shares of world capital, 0 where not a member. ``facts`` are those of the run.
    """

    key: str
    outcome: Outcome
    reason: Reason
    eligibility: StepVerdict
    active: bool
    weight_before: float
    weight: float
    rank: int | None
    score: float | None
    metrics: Mapping[str, RecordedMetric]
    steps: tuple[TraceStep, ...]
    facts: Mapping[str, Any]


def decode_row(chunk: bytes, key: str) -> RecordedDecision:
    """Return the row of ``key`` (``strategy_id|side``); about a millisecond.

    Raises:
        StrategyNotFoundError: the chunk has no such row.
        InputInvalidError: the bytes are no chunk of this format.
    """
    header, body = _open(chunk)
    keys = body[: header["keys"]].decode().split("\n")
    position = bisect_left(keys, key)
    if position == len(keys) or keys[position] != key:
        strategy_id, _, side = key.partition("|")
        raise StrategyNotFoundError(header["facts"]["world_id"], strategy_id, side or None)
    return _decision(key, _values(header, body, position), header["facts"])


def chunk_keys(chunk: bytes) -> tuple[str, ...]:
    """Return the keys of a chunk, ascending.

    Raises:
        InputInvalidError: the bytes are no chunk of this format.
    """
    header, body = _open(chunk)
    return tuple(body[: header["keys"]].decode().split("\n"))


def _open(chunk: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        payload = zlib.decompress(chunk)
        (length,) = HEADER_LENGTH.unpack_from(payload)
        header = json.loads(payload[HEADER_LENGTH.size : HEADER_LENGTH.size + length])
    except (zlib.error, struct.error, ValueError) as error:
        raise InputInvalidError(field="chunk", reason="is not readable") from error
    if header.get("format") != FORMAT:
        raise InputInvalidError(field="chunk", reason=f"has format {header.get('format')}, not {FORMAT}")
    return header, payload[HEADER_LENGTH.size + length :]


def _values(header: Mapping[str, Any], body: bytes, position: int) -> Row:
    rows, offset = header["rows"], header["keys"]
    row = {name: math.nan if value is None else value for name, value in header["constants"].items()}
    for name, kind in header["columns"]:
        size = SIZES[kind]
        if kind == "<f8":
            cell = bytes(body[offset + byte * rows + position] for byte in range(size))
        else:
            cell = body[offset + position * size : offset + (position + 1) * size]
        row[name] = _UNPACK[kind].unpack(cell)[0]
        offset += size * rows
    return row


def _decision(key: str, row: Row, facts: Mapping[str, Any]) -> RecordedDecision:
    return RecordedDecision(
        key=key,
        outcome=OUTCOMES[int(row["outcome"])],
        reason=reason_of(row, "outcome_reason", facts),
        eligibility=VERDICTS[int(row["state"])],
        active=bool(row["active"]),
        weight_before=row["before"],
        weight=row["after"],
        rank=int(row["rank"]) or None,
        score=present(row["score"]),
        metrics={name: _metric(row, name) for name in facts["metrics"]},
        steps=steps_of(row, facts),
        facts=facts,
    )


def _metric(row: Row, name: str) -> RecordedMetric:
    return RecordedMetric(present(row[f"m:{name}"]), METRIC_WORDS[int(row[f"s:{name}"])])
