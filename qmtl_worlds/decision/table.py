"""The rows of a decision: what ``contracts.decision_steps`` reads, column by column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.contracts.decision_record import METRIC_WORDS
from qmtl_worlds.contracts.decision_steps import NOBODY
from qmtl_worlds.contracts.reasons import Reason
from qmtl_worlds.decision.codes import FAIL, OK, REASONS, UNKNOWN, Codes, Rows, code
from qmtl_worlds.decision.columns import Frame
from qmtl_worlds.decision.constraints import Book, Limits
from qmtl_worlds.decision.expressions import Judgement, Table
from qmtl_worlds.decision.gates import GateResult
from qmtl_worlds.decision.hysteresis import Memory
from qmtl_worlds.decision.membership import Membership, by_rank
from qmtl_worlds.decision.metric_table import HISTORY
from qmtl_worlds.decision.planning import Planned
from qmtl_worlds.decision.record import DecisionTable
from qmtl_worlds.decision.scoring import Eligibility
from qmtl_worlds.decision.selection import Selection
from qmtl_worlds.policy.compiler import CompiledPolicy
from qmtl_worlds.policy.printing import print_expression

Columns = dict[str, NDArray[Any]]
_WORDS: Final = {
    Reason.OK: METRIC_WORDS.index("ok"),
    Reason.METRIC_INSUFFICIENT: METRIC_WORDS.index("insufficient"),
    Reason.METRIC_UNDEFINED: METRIC_WORDS.index("undefined"),
    Reason.METRIC_STALE: METRIC_WORDS.index("stale"),
}
_MISSING: Final = METRIC_WORDS.index("missing")
_STATUS: Final = np.array([_WORDS.get(reason, _MISSING) for reason in REASONS], dtype=np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Stages:
    """What every stage of one evaluation found."""

    frame: Frame
    metrics: Table
    gates: GateResult
    eligible: Eligibility
    target: Selection
    memory: Memory
    membership: Membership
    planned: Planned
    limits: Limits
    book: Book


def decision_table(policy: CompiledPolicy, stages: Stages, *, now: float) -> DecisionTable:
    """Lay the stages out as rows, one an instance, sorted by key."""
    reasons: Columns = _reasons(stages)
    used = sorted({int(number) for column in reasons.values() for number in np.unique(column)})
    number = np.zeros(len(REASONS), dtype=np.uint8)
    number[used] = np.arange(len(used))
    columns = {
        **_metrics(stages),
        **_judgements(stages),
        **_memberships(stages),
        **{name: number[column] for name, column in reasons.items()},
    }
    facts = _facts(policy, stages, now=now) | {"reasons": [REASONS[place].value for place in used]}
    return DecisionTable(stages.frame.keys, columns, facts)


def _metrics(stages: Stages) -> Columns:
    columns: Columns = {}
    for name, metric in stages.metrics.items():
        columns[f"m:{name}"] = metric.value
        columns[f"s:{name}"] = _STATUS[metric.reason]
    return columns | {name: operand.value for name, operand in stages.gates.operands.items()}


def _judgements(stages: Stages) -> Columns:
    conditions = enumerate(stages.gates.conditions)
    return {
        **{f"g:{place}": condition.judgement.verdict for place, condition in conditions},
        "gate": stages.gates.judgement.verdict.astype(np.uint8),
        "score": stages.eligible.score.value,
        "state": stages.eligible.state,
        "rank": _ranks(stages).astype(np.int32),
        "history": np.nan_to_num(stages.metrics[HISTORY.name].value),
        "fresh_until": stages.frame.fresh_until,
    }


def _ranks(stages: Stages) -> Rows:
    ranks = by_rank(stages.eligible.order, stages.frame.count)
    return np.where(ranks > len(stages.eligible.order), 0, ranks)


def _memberships(stages: Stages) -> Columns:
    frame, memory, planned = stages.frame, stages.memory, stages.planned
    target = np.zeros(frame.count, dtype=np.uint8)
    target[stages.target.members] = 1
    return {
        "active": frame.active.astype(np.uint8),
        "held": frame.held.astype(np.uint8),
        "side": frame.side,
        "sector": _sector_numbers(stages),
        "target": target,
        **_rejections(frame.count, stages.target, "reject"),
        **_rejections(frame.count, stages.membership.late, "late"),
        "in_streak": memory.in_streak,
        "out_streak": memory.out_streak,
        "dwell_left": memory.dwell_left,
        "outcome": stages.membership.outcome,
        "before": planned.before,
        "after": planned.after,
    }


def _rejections(count: int, selection: Selection, phase: str) -> Columns:
    value, limit = np.full(count, np.nan), np.full(count, np.nan)
    blocker = np.full(count, NOBODY, dtype=np.int16)
    found, order = selection.rejections, selection.order
    value[order], limit[order], blocker[order] = found.value, found.limit, found.blocker
    return {f"{phase}_value": value, f"{phase}_limit": limit, f"{phase}_blocker": blocker}


def _reasons(stages: Stages) -> Columns:
    conditions = enumerate(stages.gates.conditions)
    count = stages.frame.count
    return {
        **{f"h:{place}": _condition_reason(condition.judgement) for place, condition in conditions},
        "gate_reason": stages.gates.judgement.reason.astype(np.uint8),
        "score_reason": stages.eligible.score.reason.astype(np.uint8),
        "state_reason": stages.eligible.reason,
        "reject": _rejected(count, stages.target),
        "late": _rejected(count, stages.membership.late),
        "outcome_reason": stages.membership.reason,
        "weight_reason": stages.planned.reason,
    }


def _condition_reason(judgement: Judgement) -> Codes:
    failed = np.where(judgement.verdict == FAIL, code(Reason.GATE_FAILED), OK)
    return np.where(judgement.verdict == UNKNOWN, judgement.reason, failed).astype(np.uint8)


def _rejected(count: int, selection: Selection) -> Codes:
    reason = np.zeros(count, dtype=np.uint8)
    reason[selection.order] = selection.rejections.reason
    return reason


def _sector_numbers(stages: Stages) -> NDArray[np.int16]:
    """Number the sectors of members (``_sectors``); another sector is NOBODY's."""
    names = (*stages.frame.sectors, "")
    places = {name: place for place, name in enumerate(_sectors(stages))}
    return np.array([places.get(name, NOBODY) for name in names], dtype=np.int16)[stages.frame.sector]


def _sectors(stages: Stages) -> list[str]:
    """Return the sectors that members have, "" for none: the last one of ``(*frame.sectors, "")``, which -1 means."""
    members = np.concatenate([stages.target.members, stages.membership.late.members])
    return sorted({(*stages.frame.sectors, "")[number] for number in stages.frame.sector[members].tolist()})


def _members(stages: Stages, selection: Selection) -> list[list[str | int]]:
    """Return key, rank, side and sector of each member, in the order in which they were taken."""
    frame, ranks, names = stages.frame, _ranks(stages), (*stages.frame.sectors, "")
    return [
        [frame.keys[row], int(ranks[row]), int(frame.side[row]), names[int(frame.sector[row])]]
        for row in selection.members.tolist()
    ]


def _facts(policy: CompiledPolicy, stages: Stages, *, now: float) -> dict[str, Any]:
    document, limits = policy.document, stages.limits
    selection, hysteresis = document.selection, document.selection.hysteresis
    conditions = stages.gates.conditions
    return {
        "world_id": document.world,
        "policy_version": document.version,
        "policy_checksum": policy.checksum,
        "now": now,
        "max_lag_seconds": document.data_currency.max_lag.total_seconds(),
        "min_history_days": document.data_currency.min_history_days,
        "conditions": [{"text": item.text, "path": item.path, "pairs": list(item.pairs)} for item in conditions],
        "metrics": list(stages.metrics),
        "score": print_expression(policy.score),
        "min_score": selection.min_score,
        "total": limits.total,
        "by_side": list(limits.by_side),
        "max_pairwise": None if limits.pairs is None else limits.pairs.cap,
        "per_sector": limits.per_sector if np.isfinite(limits.per_sector) else None,
        "gross": list(limits.gross),
        "max_leverage": limits.leverage,
        "promote_after": hysteresis.promote_after,
        "demote_after": hysteresis.demote_after,
        "min_dwell_seconds": hysteresis.min_dwell.total_seconds(),
        "weighting": stages.planned.scheme,
        "target": _members(stages, stages.target),
        "late": _members(stages, stages.membership.late),
        "sectors": _sectors(stages),
    }
