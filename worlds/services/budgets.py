"""Check a set against its policy's budgets once more, with the exposures that the evaluation recorded (I17)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Any, cast

from audit.models import AuditRun
from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.plans import ActiveSet, TransitionPlan
from qmtl_worlds.lifecycle.budget import Caps, Exposures, MissingSector, Violation, violations
from strategies.models import StrategyInstance
from worlds.models import ApplyRun, PolicyVersion
from worlds.selectors import members_of
from worlds.services.run_rows import compiled


def satisfies_budgets(*, run: ApplyRun, content: ActiveSet, before: ActiveSet) -> bool:
    """Tell whether ``content`` keeps every budget of the run's policy; unknown exposures break them."""
    admitted = content.weights.keys() - before.weights.keys()
    caps = caps_of(run.policy)
    exposures = exposures_of(caps=caps, world_id=run.world_id, keys=content.weights, evaluations=_evaluations_of(run))
    return not violations(content, caps, exposures, admitted=frozenset(admitted))


def broken_budgets(
    *, world_id: str, policy: PolicyVersion, evaluations: Iterable[AuditRun], plan: TransitionPlan
) -> tuple[Violation, ...]:
    """Return which budgets the set that ``plan`` leads to would break."""
    caps, after, before = caps_of(policy), plan.after.weights, plan.before.weights
    exposures = exposures_of(caps=caps, world_id=world_id, keys=after, evaluations=evaluations)
    return violations(plan.after, caps, exposures, admitted=frozenset(after.keys() - before.keys()))


def caps_of(policy: PolicyVersion) -> Caps:
    """Return the budgets of a policy version."""
    selection = compiled(policy).document.selection
    exposure, correlation = selection.constraints.exposure, selection.constraints.correlation
    given = exposure.max_leverage is not None
    return Caps(
        total=selection.topk.total,
        by_side={side: selection.topk.by_side[side] for side in Side},
        gross={side: exposure.gross_budget[side] for side in Side},
        per_sector=exposure.sector_cap.per_sector if exposure.sector_cap else None,
        max_leverage=exposure.leverage_cap,
        assumed_leverage=exposure.assume_leverage if given else (exposure.assume_leverage or 1.0),
        max_pairwise=correlation.max_pairwise if correlation else None,
        absolute=correlation is not None and correlation.mode == "abs",
        unknown_conflicts=correlation is None or correlation.on_unknown == "conflict",
        missing_sector=MissingSector(exposure.on_missing_sector),
    )


def exposures_of(
    *, caps: Caps, world_id: str, keys: Iterable[InstanceKey], evaluations: Iterable[AuditRun]
) -> Exposures:
    """Return sectors from the register, leverages and correlations from the evaluations' records; later ones count.

    Of sectors and correlations only what ``caps`` limit is read.
    """
    sectors = _sectors(world_id, frozenset(keys)) if caps.per_sector is not None else {}
    leverages: dict[InstanceKey, float] = {}
    correlations: dict[tuple[InstanceKey, InstanceKey], float] = {}
    for recorded in map(_recorded, evaluations):
        leverages |= {InstanceKey.from_text(text): value for text, value in recorded.get("leverages", {}).items()}
        if caps.max_pairwise is not None:
            correlations |= _correlations(recorded)
    return Exposures(sectors=sectors, leverages=leverages, correlations=correlations)


def evaluations_behind(*, world_id: str, generation: int, newest: AuditRun | None) -> list[AuditRun]:
    """Return the evaluations that chose the members of a generation, oldest first, and the newest one at the end.

    Each recorded the exposures of what it chose and of what it found, so together they know every pair of the members.
    """
    chosen_by = {member.evaluation_run_id for member in members_of(world_id, generation).values()}
    runs = AuditRun.objects.filter(world_id=world_id, run_id__in=chosen_by).order_by("id")
    return [*runs, *([newest] if newest else [])]


def _sectors(world_id: str, keys: frozenset[InstanceKey]) -> dict[InstanceKey, str]:
    bound = StrategyInstance.objects.filter(world_id=world_id, strategy_id__in={key.strategy_id for key in keys})
    rows = bound.order_by("bound_at", "id").values_list("strategy_id", "side", "sector")
    known = ((InstanceKey(name, Side(side)), sector) for name, side, sector in rows)
    return {key: sector for key, sector in known if key in keys and sector}


def _evaluations_of(run: ApplyRun) -> list[AuditRun]:
    if run.rollback_to is not None:
        return evaluations_behind(world_id=run.world_id, generation=run.rollback_to, newest=run.evaluation)
    return [run.evaluation] if run.evaluation else []


def _recorded(evaluation: AuditRun) -> dict[str, Any]:
    inputs = cast("dict[str, Any] | None", evaluation.inputs)
    return cast("dict[str, Any]", (inputs or {}).get("exposures", {}))


def _correlations(recorded: dict[str, Any]) -> dict[tuple[InstanceKey, InstanceKey], float]:
    """Read the upper triangle, row by row, over ``members``; None is unknown."""
    members = [InstanceKey.from_text(text) for text in recorded.get("members", [])]
    values = recorded.get("correlations", [])
    pairs = zip(combinations(members, 2), values, strict=False)
    return {pair: value for pair, value in pairs if value is not None}
