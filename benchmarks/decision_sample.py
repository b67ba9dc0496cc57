"""A decision over many random instances under the sample policy, without a database."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from qmtl_worlds.decision.inputs import EvaluationInput
from qmtl_worlds.decision.outcome import Decision
from qmtl_worlds.decision.pipeline import decide
from qmtl_worlds.metrics.panel import ReturnPanel
from qmtl_worlds.policy.compiler import compile_policy

POLICY: Final = Path(__file__).parent.parent / "config" / "worlds" / "crypto_mom_1h.yml"
NOW: Final = datetime(2026, 3, 6, tzinfo=UTC)
SECTORS: Final = ("majors", "defi", "layer2", None)


def decision_of(count: int, *, sessions: int = 252) -> Decision:
    """Decide over ``count`` instances with ``sessions`` days of returns; the same numbers every time."""
    rng = np.random.default_rng(20_261_122)
    shape = (count, sessions)
    closes = int(NOW.timestamp()) - 86_400 * np.arange(sessions - 1, -1, -1, dtype=np.int64)
    panel = ReturnPanel(
        closes,
        np.asfortranarray(rng.normal(0.0005, 0.01, shape)),
        leverage=np.asfortranarray(np.full(shape, 1.0)),
        trades=np.asfortranarray(np.full(shape, 2.0)),
    )
    policy = compile_policy(POLICY.read_bytes())
    inputs = EvaluationInput(
        world_id=policy.document.world,
        as_of=NOW,
        keys=tuple(f"strategy_{number:05d}|{'short' if number % 2 else 'long'}" for number in range(count)),
        side=(np.arange(count) % 2).astype(np.uint8),
        bound_at=np.zeros(count),
        sector=tuple(SECTORS[number % len(SECTORS)] for number in range(count)),
        active=np.zeros(count, dtype=np.bool_),
        weight=np.zeros(count),
        dwell_since=np.full(count, np.nan),
        in_streak=np.ones(count, dtype=np.int32),
        out_streak=np.zeros(count, dtype=np.int32),
        evidence=np.full(count, -1, dtype=np.int64),
        streak_checksum=policy.selection_checksum,
        fresh_until=np.full(count, NOW.timestamp() + 3600),
        held=np.zeros(count, dtype=np.bool_),
        panel=panel,
    )
    return decide(policy, inputs, now=NOW)
