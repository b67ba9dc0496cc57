"""QMTL's four presets, in its own dialect, with the figures that its clients expect of each name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final


def _band(enter: float, leave: float) -> dict[str, Any]:
    return {"metric": "sharpe", "enter": enter, "exit": leave}


PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "sandbox": {"top_k": {"metric": "sharpe", "k": 10}},
    "conservative": {
        "thresholds": {
            "sharpe": {"min": 1.0},
            "max_drawdown": {"max": 0.15},
            "win_rate": {"min": 0.55},
            "profit_factor": {"min": 1.5},
        },
        "top_k": {"metric": "sharpe", "k": 3},
        "correlation": {"max": 0.5},
        "hysteresis": _band(1.0, 0.8),
    },
    "moderate": {
        "thresholds": {
            "sharpe": {"min": 0.7},
            "max_drawdown": {"max": 0.25},
            "win_rate": {"min": 0.5},
            "profit_factor": {"min": 1.2},
        },
        "top_k": {"metric": "sharpe", "k": 5},
        "correlation": {"max": 0.7},
        "hysteresis": _band(0.7, 0.5),
    },
    "aggressive": {
        "thresholds": {"sharpe": {"min": 0.5}, "max_drawdown": {"max": 0.4}, "profit_factor": {"min": 1.0}},
        "top_k": {"metric": "sharpe", "k": 8},
        "correlation": {"max": 0.85},
        "hysteresis": _band(0.5, 0.3),
    },
}
