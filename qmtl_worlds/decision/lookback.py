"""How far back an evaluation reads."""

from __future__ import annotations

from typing import Final

from qmtl_worlds.contracts.metric_names import MAX_WINDOW_DAYS
from qmtl_worlds.metrics.settings import LEVERAGE_SESSIONS
from qmtl_worlds.policy.compiler import CompiledPolicy

_WHOLE_HISTORY: Final = frozenset({"sample_days", "age_days", "last_trade_age_seconds"})


def sessions_needed(policy: CompiledPolicy) -> int:
    """Return how many sessions the policy's metrics, correlation, history rule and contributions look back.

    A gate or score that reads the age of something reads as far back as any window may reach.
    """
    if any(ref.base in _WHOLE_HISTORY for ref in policy.metrics):
        return MAX_WINDOW_DAYS
    document = policy.document
    correlation = document.selection.constraints.correlation
    lengths = [policy.window_days(ref) or LEVERAGE_SESSIONS for ref in policy.metrics]
    lengths += [correlation.window_days] if correlation else []
    return max([*lengths, document.data_currency.min_history_days, document.metrics.windows.mid_days])
