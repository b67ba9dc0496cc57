"""The policies and returns that tests of the command line work on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "config" / "worlds" / "crypto_mom_1h.yml"
EQUITIES = ROOT / "config" / "worlds" / "us_equity_rules.yml"
EXAMPLE = ROOT / "docs" / "examples" / "returns.csv.gz"
LAST_DAY = date(2026, 3, 1)

POLICY = """\
world: w1
version: 1
data_currency: {max_lag: 1d}
metrics: {min_obs: 5}
selection:
  gates: {and: ["sharpe_30d >= 0.5"]}
  score: "sharpe_30d"
  topk: {total: 2, by_side: {long: 2, short: 0}}
  constraints:
    exposure: {gross_budget: {long: 0.6}}
  hysteresis: {promote_after: 2, demote_after: 2}
"""


def policy_file(folder: Path, text: str = POLICY, name: str = "policy.yml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def returns_text(qualities: Mapping[str, float], *, days: int = 40) -> str:
    """A return a day up to ``LAST_DAY`` for each strategy, all long; better quality is a better Sharpe ratio."""
    lines = ["ts,strategy_id,side,ret"]
    for strategy_id, quality in qualities.items():
        lines += [f"{day},{strategy_id},long,{ret!r}" for day, ret in zip(_days(days), _returns(quality), strict=False)]
    return "\n".join(lines) + "\n"


def returns_file(folder: Path, qualities: Mapping[str, float], *, days: int = 40) -> Path:
    path = folder / "returns.csv"
    path.write_text(returns_text(qualities, days=days), encoding="utf-8")
    return path


def _days(count: int) -> list[date]:
    return [LAST_DAY - timedelta(days=count - 1 - place) for place in range(count)]


def _returns(quality: float) -> Iterable[float]:
    return [0.001 * quality + 0.01 * math.sin(day * 1.7 + quality) for day in range(400)]
