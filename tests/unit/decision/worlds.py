"""Small worlds in which every figure of an instance can be set by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from qmtl_worlds.contracts.decision_record import RecordedDecision
from qmtl_worlds.decision.codes import Floats, Rows
from qmtl_worlds.decision.inputs import NO_EVIDENCE, EvaluationInput
from qmtl_worlds.decision.outcome import Decision
from qmtl_worlds.decision.pipeline import decide
from qmtl_worlds.metrics.panel import ReturnPanel
from qmtl_worlds.policy.compiler import CompiledPolicy, compile_mapping

DAY = 86_400
NOW = datetime(2026, 3, 2, tzinfo=UTC)
"""A session closes at this instant; it is the last one of every panel."""
SESSIONS = 40


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance: ``ok`` is what the gate looks at, None of a figure is "not reported"."""

    name: str
    score: float | None = 1.0
    ok: float | None = 1.0
    side: str = "long"
    sector: str | None = "tech"
    leverage: float | None = 1.0
    active: bool = False
    weight: float | None = None
    since: datetime | None = None
    in_streak: int = 0
    out_streak: int = 0
    evidence: int = NO_EVIDENCE
    fresh_for: timedelta | None = timedelta(minutes=5)
    bound_at: datetime = NOW - timedelta(days=300)
    held: bool = False
    returns: Floats | None = None

    @property
    def key(self) -> str:
        return f"{self.name}|{self.side}"


def policy(**selection: Any) -> CompiledPolicy:
    """A policy whose gate is ``reported.ok > 0`` and whose score is ``reported.score``; keys replace its selection."""
    base: dict[str, Any] = {
        "gates": "reported.ok > 0",
        "score": "reported.score",
        "topk": {"total": 2},
        "constraints": {"exposure": {"gross_budget": {"long": 0.6, "short": 0.4}}},
    }
    currency = {"max_lag": "5m", "min_history": selection.pop("min_history", "0d")}
    document = {"world": "w", "version": 1, "data_currency": currency, "selection": base | selection}
    return compile_mapping(document)


def exposure(**keys: Any) -> dict[str, Any]:
    return {"exposure": {"gross_budget": {"long": 0.6, "short": 0.4}, **keys}}


def inputs(
    instances: Sequence[Instance], compiled: CompiledPolicy, *, now: datetime = NOW, **fields: Any
) -> EvaluationInput:
    """The inputs of an evaluation as of ``now``, whose last complete session closed at or before it."""
    end = int(now.timestamp()) // DAY * DAY
    closes = end - DAY * np.arange(SESSIONS - 1, -1, -1, dtype=np.int64)
    values: dict[str, Any] = {
        "world_id": "w",
        "as_of": now,
        "keys": tuple(one.key for one in instances),
        "side": np.array([one.side == "short" for one in instances], dtype=np.uint8),
        "bound_at": np.array([one.bound_at.timestamp() for one in instances], dtype=np.float64),
        "sector": tuple(one.sector for one in instances),
        "active": np.array([one.active for one in instances], dtype=bool),
        "weight": np.array([_weight(one, compiled) for one in instances], dtype=np.float64),
        "dwell_since": np.array([one.since.timestamp() if one.since else np.nan for one in instances]),
        "in_streak": np.array([one.in_streak for one in instances], dtype=np.int32),
        "out_streak": np.array([one.out_streak for one in instances], dtype=np.int32),
        "evidence": np.array([one.evidence for one in instances], dtype=np.int64),
        "streak_checksum": compiled.selection_checksum,
        "fresh_until": np.array([_fresh_until(one, now) for one in instances], dtype=np.float64),
        "held": np.array([one.held for one in instances], dtype=bool),
        "panel": _panel(instances, closes),
        "reported": {
            "reported.ok": _column([one.ok for one in instances]),
            "reported.score": _column([one.score for one in instances]),
        },
        "has_applied_set": True,
    }
    return EvaluationInput(**(values | fields))


def evaluate(
    instances: Sequence[Instance], compiled: CompiledPolicy | None = None, *, now: datetime = NOW, **fields: Any
) -> Decision:
    compiled = compiled or policy()
    return decide(compiled, inputs(instances, compiled, now=now, **fields), now=now)


def carried(instances: Sequence[Instance], decision: Decision, *, now: datetime) -> list[Instance]:
    """The same instances after the decision has been applied at ``now`` and its streaks have been stored."""
    streaks = decision.streaks
    rows = {key: row for row, key in enumerate(streaks.keys)}
    after = []
    for one in instances:
        row, weight = rows[one.key], decision.weights.get(one.key)
        active = weight is not None
        after.append(
            replace(
                one,
                active=active,
                weight=weight,
                since=now if active != one.active else one.since,
                in_streak=int(streaks.in_streak[row]),
                out_streak=int(streaks.out_streak[row]),
                evidence=int(streaks.evidence[row]),
            )
        )
    return after


def recorded(decision: Decision, name: str) -> RecordedDecision:
    """The row of an instance on the side on which it is, as the store would give it back."""
    key = next(key for key in decision.table.keys if key.startswith(f"{name}|"))
    return decision.recorded(key)


def noise_of(key: str) -> Floats:
    """Returns that only ``key`` has."""
    return np.random.default_rng(sum(key.encode())).normal(0.001, 0.01, SESSIONS)


def names(keys: Sequence[str] | Mapping[str, object]) -> list[str]:
    return [key.partition("|")[0] for key in keys]


def _weight(one: Instance, compiled: CompiledPolicy) -> float:
    if not one.active:
        return 0.0
    topk, gross = compiled.document.selection.topk, compiled.document.selection.constraints.exposure.gross_budget
    slots, budget = (topk.by_side.long, gross.long) if one.side == "long" else (topk.by_side.short, gross.short)
    return one.weight if one.weight is not None else (budget or 0.0) / slots


def _fresh_until(one: Instance, now: datetime) -> float:
    return np.nan if one.fresh_for is None else (now + one.fresh_for).timestamp()


def _column(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _panel(instances: Sequence[Instance], closes: Rows) -> ReturnPanel:
    """Returns that no two instances share, unless they are given."""
    rows = [noise_of(one.key) if one.returns is None else one.returns for one in instances]
    returns = np.array(rows, dtype=np.float64).reshape(len(instances), SESSIONS)
    leverage = np.repeat(_column([one.leverage for one in instances])[:, None], SESSIONS, axis=1)
    return ReturnPanel(closes, returns, leverage=leverage.reshape(len(instances), SESSIONS))
