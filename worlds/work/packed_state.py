"""The world's state at one evaluation as packed columns: recorded with the run, and read again for its replay."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.decision.inputs import EvaluationInput

_COLUMNS: Final = (
    ("side", "<u1"),
    ("bound_at", "<f8"),
    ("active", "<u1"),
    ("weight", "<f8"),
    ("dwell_since", "<f8"),
    ("in_streak", "<i4"),
    ("out_streak", "<i4"),
    ("evidence", "<i8"),
    ("fresh_until", "<f8"),
    ("held", "<u1"),
)
_ID, _SECTOR = "<i8", "<u4"
_ROW_BYTES: Final = sum(np.dtype(kind).itemsize for kind in (_ID, _SECTOR, *(kind for _, kind in _COLUMNS)))
_FLAGS: Final = frozenset({"active", "held"})


@dataclass(frozen=True, slots=True, eq=False)
class PackedState:
    """Columns one after another, and the names of the sectors that the sector column counts from 1 (0: none)."""

    data: bytes
    sectors: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what is recorded."""
        return {"columns": base64.b64encode(zlib.compress(self.data, 1)).decode(), "sectors": list(self.sectors)}


@dataclass(frozen=True, slots=True, eq=False)
class UnpackedState:
    """Instance ids in the order of the inputs, and the columns of ``EvaluationInput`` by name."""

    instances: NDArray[np.int64]
    columns: Mapping[str, Any]


def pack_state(inputs: EvaluationInput, instances: NDArray[np.int64]) -> PackedState:
    """Pack the columns of ``inputs``; ``instances`` are the register's ids in their order."""
    sectors = tuple(sorted({sector for sector in inputs.sector if sector}))
    numbers: dict[str | None, int] = {name: number for number, name in enumerate(sectors, start=1)}
    codes = np.fromiter(map(numbers.get, inputs.sector, repeat(0)), _SECTOR, inputs.count)
    columns = [instances.astype(_ID), codes]
    columns += [getattr(inputs, name).astype(kind) for name, kind in _COLUMNS]
    return PackedState(b"".join(column.tobytes() for column in columns), sectors)


def unpack_state(recorded: Mapping[str, Any]) -> UnpackedState:
    """Read what ``PackedState.to_json`` wrote."""
    data = zlib.decompress(base64.b64decode(recorded["columns"]))
    count, place = len(data) // _ROW_BYTES, 0
    found: dict[str, Any] = {}
    for name, kind in (("instances", _ID), ("sector", _SECTOR), *_COLUMNS):
        column = np.frombuffer(data, kind, count, place)
        place += column.nbytes
        found[name] = column.astype(np.bool_ if name in _FLAGS else column.dtype.newbyteorder("="))
    found["sector"] = _named(found["sector"].tolist(), recorded["sectors"])
    return UnpackedState(found.pop("instances"), found)


def _named(codes: Sequence[int], sectors: Sequence[str]) -> tuple[str | None, ...]:
    names = (None, *sectors)
    return tuple(names[code] for code in codes)
