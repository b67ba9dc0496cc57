"""Verdicts and reasons as small numbers, so that columns can hold them.

The numbers live within one run only: a stored row names its reasons (``contracts.decision_steps``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.contracts.gate_steps import VERDICTS
from qmtl_worlds.contracts.reasons import Reason, StepVerdict

Codes = NDArray[np.uint8]
Rows = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FAIL: Final = np.uint8(VERDICTS.index(StepVerdict.FAIL))
UNKNOWN: Final = np.uint8(VERDICTS.index(StepVerdict.UNKNOWN))
PASS: Final = np.uint8(VERDICTS.index(StepVerdict.PASS))
REASONS: Final = tuple(Reason)
_NUMBERS: Final = {reason: np.uint8(number) for number, reason in enumerate(REASONS)}


def code(reason: Reason) -> np.uint8:
    """Return the number of ``reason``; that of ``OK`` is 0."""
    return _NUMBERS[reason]


def first_reason(cases: Sequence[tuple[Flags, Codes | np.uint8]], *, otherwise: Codes | np.uint8) -> Codes:
    """Return, for each instance, the number that stands beside the first condition that holds."""
    reason = np.asarray(otherwise, dtype=np.uint8)
    for where, number in reversed(cases):
        reason = np.where(where, number, reason)
    return reason


OK: Final = code(Reason.OK)
EMPTY: Final[Rows] = np.zeros(0, dtype=np.int64)
EMPTY.flags.writeable = False
TOLERANCE: Final = 1e-12
"""Caps hold to this."""
