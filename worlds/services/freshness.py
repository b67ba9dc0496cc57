"""The rule of data currency that a world's policy sets."""

from __future__ import annotations

from qmtl_worlds.lifecycle.calendar import Calendar, parse_bar
from qmtl_worlds.policy.compiler import CompiledPolicy
from strategies.freshness import FreshnessRule
from worlds.models import World
from worlds.services.run_rows import compiled


def freshness_rule(world: World) -> FreshnessRule | None:
    """Return the rule of the policy in force; None, and nothing is fresh, where there is none."""
    return rule_of(compiled(world.policy)) if world.policy else None


def rule_of(policy: CompiledPolicy) -> FreshnessRule:
    """Return the rule that ``policy`` sets."""
    currency, metrics = policy.document.data_currency, policy.document.metrics
    aligned = currency.bar_alignment == "exchange_calendar"
    return FreshnessRule(
        max_lag=currency.max_lag,
        calendar=Calendar.load(metrics.calendar) if aligned else None,
        bar=parse_bar(currency.bar) if currency.bar else None,
        provenance=frozenset(metrics.provenance),
    )
