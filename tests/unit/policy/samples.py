"""Policies that the tests start from."""

from __future__ import annotations

from pathlib import Path

POLICIES = Path(__file__).parents[3] / "config" / "worlds"

MINIMAL = """\
world: w
version: 1
data_currency: {max_lag: 5m}
selection:
  gates: sharpe_mid >= 0.6
  score: sharpe_mid
  topk: {total: 2}
  constraints:
    exposure:
      gross_budget: {long: 0.5}
"""


def sample(name: str = "crypto_mom_1h") -> str:
    return (POLICIES / f"{name}.yml").read_text(encoding="utf-8")


def with_gates(gates: str) -> str:
    return MINIMAL.replace("sharpe_mid >= 0.6\n", f"{gates}\n")


def with_score(score: str) -> str:
    return MINIMAL.replace("score: sharpe_mid\n", f"score: {score}\n")
