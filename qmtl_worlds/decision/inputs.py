"""Everything a decision depends on besides the policy and the time: frozen columns over N instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.metrics.columns import MetricColumn
from qmtl_worlds.metrics.panel import ReturnPanel

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
LONG, SHORT = 0, 1
NO_EVIDENCE = -1

_COLUMNS = (
    "side",
    "bound_at",
    "sector",
    "active",
    "weight",
    "dwell_since",
    "in_streak",
    "out_streak",
    "evidence",
    "fresh_until",
    "held",
)


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationInput:
    """The state of a world as one evaluation sees it; instances come in any order, times are epoch seconds.

    ``keys`` are ``strategy_id|side``; ``side`` is 0 long, 1 short. ``weight`` is the share held now, 0 where not
    ``active``. ``dwell_since`` is when an active instance was promoted, an inactive one demoted; NaN is never.
    ``evidence`` is the period close that the streaks counted last (-1: none), and ``streak_checksum`` the selection
    checksum they belong to. ``held`` instances (killed, withdrawn, deactivated) leave at once and may not come in.
    ``panel`` has one row for each key. ``reported`` are values that Runners report (by full name, ``reported.alpha``),
    NaN missing. ``advisory`` are metric columns from a request's body that replace computed ones, ``correlations``
    pairs of keys (in one order) that replace computed ones. ``circuit_open``: the risk circuit has tripped. Without
    ``counts`` (dry runs, advisory runs) the answer is the one that a counting run would give, but no streak moves.

    Raises:
        InputInvalidError: columns differ in length, a key comes twice, or an active weight is outside [0, 1].
    """

    world_id: str
    as_of: datetime
    keys: tuple[str, ...]
    side: NDArray[np.uint8]
    bound_at: Floats
    sector: tuple[str | None, ...]
    active: Flags
    weight: Floats
    dwell_since: Floats
    in_streak: NDArray[np.int32]
    out_streak: NDArray[np.int32]
    evidence: NDArray[np.int64]
    streak_checksum: str
    fresh_until: Floats
    held: Flags
    panel: ReturnPanel
    reported: Mapping[str, Floats] = field(default_factory=dict)
    advisory: Mapping[str, MetricColumn] | None = None
    correlations: Mapping[tuple[str, str], float] | None = None
    world_mode: str = "paper"
    has_applied_set: bool = False
    circuit_open: bool = False
    counts: bool = True

    def __post_init__(self) -> None:
        """Refuse columns that cannot belong together."""
        for name in _COLUMNS:
            _check_length(name, len(getattr(self, name)), self.count)
        _check_length("panel", self.panel.count, self.count)
        for name, values in self.reported.items():
            _check_length(name, len(values), self.count)
        for name, column in (self.advisory or {}).items():
            _check_length(name, len(column.value), self.count)
        if len(set(self.keys)) != self.count:
            raise InputInvalidError(field="keys", reason="must name each instance once")
        if not np.all((self.weight >= 0) & (self.weight <= 1)):
            raise InputInvalidError(field="weight", reason="must be in [0, 1]")

    @property
    def count(self) -> int:
        """Return the number of instances."""
        return len(self.keys)


def _check_length(name: str, length: int, count: int) -> None:
    if length != count:
        raise InputInvalidError(field=name, reason=f"has {length} rows, not {count}")
