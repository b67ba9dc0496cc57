"""The models of the control plane, gathered for Django."""

from __future__ import annotations

from worlds.models.activation import ActivationEntry, ActivationSet, GateHold, OutboxEvent
from worlds.models.apply import ApplyRun, Approval
from worlds.models.evaluation import Demotion, Heartbeat, StreakState
from worlds.models.layers import Override, Pin, Reopening
from worlds.models.outside import Alert, Relay, RunnerSession
from worlds.models.policy import Membership, PolicyChange, PolicyVersion
from worlds.models.risk import CircuitState, EquitySnapshot
from worlds.models.token import ApiToken
from worlds.models.world import World

__all__ = [
    "ActivationEntry",
    "ActivationSet",
    "Alert",
    "ApiToken",
    "ApplyRun",
    "Approval",
    "CircuitState",
    "Demotion",
    "EquitySnapshot",
    "GateHold",
    "Heartbeat",
    "Membership",
    "OutboxEvent",
    "Override",
    "Pin",
    "PolicyChange",
    "PolicyVersion",
    "Relay",
    "Reopening",
    "RunnerSession",
    "StreakState",
    "World",
]
