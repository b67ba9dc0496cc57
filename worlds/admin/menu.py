"""The groups of the menu, and what each kind of row is called there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

MENU: Final[Mapping[str, Mapping[str, str]]] = {
    "Operate": {
        "World": "Worlds",
        "AuditRun": "Evaluations",
        "ApplyRun": "Apply runs",
        "PolicyVersion": "Policies",
        "PolicyChange": "Policy requests",
        "GateHold": "Gate holds",
        "Reopening": "Requests to reopen",
        "Override": "Overrides",
        "Pin": "Pins",
        "Alert": "Alerts",
    },
    "Register": {
        "StrategyInstance": "Strategies",
        "Roster": "Rosters",
        "ReportedMetric": "Reported metrics",
        "Demotion": "Cool-downs",
        "EquitySnapshot": "Equity snapshots",
        "CircuitState": "Risk circuits",
        "RunnerSession": "Runners",
    },
    "Record": {
        "AuditEvent": "Audit events",
        "ActivationSet": "Active sets",
        "ActivationEntry": "Active set entries",
        "Approval": "Approvals",
        "AuditHighlight": "Evaluation highlights",
    },
    "Access": {
        "User": "People",
        "Membership": "Roles",
        "ApiToken": "Tokens",
        "Group": "Groups",
    },
    "Inside": {
        "Heartbeat": "Heartbeats",
        "OutboxEvent": "Outbox",
        "Relay": "Bus relay",
        "StreakState": "Streaks",
        "AuditHead": "Audit chain heads",
        "Checkpoint": "Audit checkpoints",
        "AuditChunk": "Decision chunks",
        "SeriesHead": "Series revisions",
        "SeriesTrack": "Series tracks",
        "TailRow": "Bars: tail",
        "Segment": "Bars: segments",
        "BlockLayout": "Bars: layouts",
        "BarBlock": "Bars: blocks",
    },
}
"""The groups of the menu; every registered model stands in exactly one."""

_LABELS: Final = {model: label for labels in MENU.values() for model, label in labels.items()}


def label_of(model_name: str) -> str:
    """Return what the rows of a model are called."""
    return _LABELS.get(model_name, model_name)
