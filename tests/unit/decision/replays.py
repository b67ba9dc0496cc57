"""Evaluations that are replayed: by golden files, and in other processes under other conditions.

Run as a program, it writes the golden files anew.
"""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

from qmtl_worlds.decision.codes import Floats
from qmtl_worlds.decision.inputs import EvaluationInput
from qmtl_worlds.decision.outcome import Decision
from qmtl_worlds.decision.pipeline import decide
from qmtl_worlds.metrics.panel import ReturnPanel
from qmtl_worlds.policy.compiler import CompiledPolicy, compile_mapping
from tests.unit.decision.worlds import DAY, NOW

GOLDEN: Final = Path(__file__).parents[2] / "golden"
SESSIONS: Final = 150
COUNT: Final = 80

SAMPLE: Final[dict[str, Any]] = {
    "world": "replayed",
    "version": 3,
    "data_currency": {"max_lag": "5m", "min_history": "60d"},
    "selection": {
        "gates": {"and": ["sample_days >= 30", "trades_60d >= 10", "sharpe_mid >= 0.6", "max_dd_120d <= 0.25"]},
        "score": "sharpe_mid + 0.1*winrate_long - 0.2*ulcer_mid",
        "topk": {"total": 8, "by_side": {"long": 5, "short": 3}},
        "constraints": {
            "correlation": {"max_pairwise": 0.8},
            "exposure": {
                "gross_budget": {"long": 0.6, "short": 0.4},
                "max_leverage": 3.0,
                "sector_cap": {"per_sector": 0.3},
            },
        },
        "hysteresis": {"promote_after": 2, "demote_after": 2, "min_dwell": "3h"},
    },
}
EXACT: Final = {
    **SAMPLE,
    "selection": {
        **SAMPLE["selection"],
        "gates": {"or": ["dsr_mid >= 0.1", {"not": "sharpe_mid < 0.2 or calmar_mid < 0"}]},
        "solver": "exact",
        "weights": {"scheme": "erc", "band": 0.01},
        "hysteresis": {"promote_after": 1},
    },
}
CASES: Final = {"decision_greedy": SAMPLE, "decision_exact": EXACT}


def replay(case: str) -> Decision:
    """Decide a case of eighty instances, some stale, held, short of history, or active."""
    policy = compile_mapping(CASES[case])
    return decide(policy, _inputs(policy), now=NOW + timedelta(minutes=3))


def golden_text(decision: Decision) -> str:
    """Return the canonical bytes, laid out for people."""
    return json.dumps(json.loads(decision.canonical()), indent=1, sort_keys=True) + "\n"


def digest_of_everything() -> str:
    """Hash the canonical bytes of every case."""
    return hashlib.sha256(b"".join(replay(case).canonical() for case in CASES)).hexdigest()


def _inputs(policy: CompiledPolicy) -> EvaluationInput:
    number = np.arange(COUNT)
    end = int(NOW.timestamp())
    active = np.isin(number, (1, 17, 20, 37, 65))
    return EvaluationInput(
        world_id="replayed",
        as_of=NOW,
        keys=tuple(f"s{7 * i % COUNT:03d}|{'short' if i % 3 == 0 else 'long'}" for i in range(COUNT)),
        side=(number % 3 == 0).astype(np.uint8),
        bound_at=(end - DAY * (200 + number % 5)).astype(np.float64),
        sector=tuple((None, "tech", "oil", "banks", "retail")[i % 5] for i in range(COUNT)),
        active=active,
        weight=np.where(active, 0.1, 0.0),
        dwell_since=np.where(active, end - 3600.0 * number, np.nan),
        in_streak=(number % 3).astype(np.int32),
        out_streak=(number % 2).astype(np.int32),
        evidence=np.where(number % 4 == 0, end, end - DAY),
        streak_checksum=policy.selection_checksum,
        fresh_until=np.where(number % 13 == 0, end - 60.0, end + 600.0),
        held=number % 17 == 0,
        panel=_panel(end),
        has_applied_set=True,
    )


def _panel(end: int) -> ReturnPanel:
    """Returns from bits of a hash: no random generator, no mathematical library."""
    market = _noise("market")
    clusters = [_noise(f"cluster {number}") for number in range(12)]
    rows = [market + clusters[i % 12] + 0.6 * _noise(f"own {i}") + 0.0001 * (i % 23 - 6) for i in range(COUNT)]
    returns = np.array(rows)
    returns[::11, :100] = np.nan
    returns[::6, 40:50] = np.nan
    closes = end - DAY * np.arange(SESSIONS - 1, -1, -1, dtype=np.int64)
    leverage = np.repeat(1.0 + np.arange(COUNT)[:, None] % 4 / 2, SESSIONS, axis=1)
    return ReturnPanel(closes, returns, leverage=leverage, trades=np.where(np.isnan(returns), np.nan, 0.5))


def _noise(seed: str) -> Floats:
    stream = hashlib.shake_256(seed.encode()).digest(2 * SESSIONS)
    return (np.frombuffer(stream, dtype="<u2").astype(np.float64) - 32768) / 32768 / 128


if __name__ == "__main__":
    for name in CASES:
        (GOLDEN / f"{name}.json").write_text(golden_text(replay(name)), encoding="utf-8")
