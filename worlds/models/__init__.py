"""The models of the control plane, gathered for Django."""

from __future__ import annotations

from worlds.models.activation import ActivationEntry, ActivationSet, GateHold, OutboxEvent
from worlds.models.apply import ApplyRun, Approval
from worlds.models.evaluation import Demotion, Heartbeat, StreakState
from worlds.models.policy import Membership, PolicyChange, PolicyVersion
from worlds.models.token import ApiToken
from worlds.models.world import World

__all__ = [
    "ActivationEntry",
    "ActivationSet",
    "ApiToken",
    "ApplyRun",
    "Approval",
    "Demotion",
    "GateHold",
    "Heartbeat",
    "Membership",
    "OutboxEvent",
    "PolicyChange",
    "PolicyVersion",
    "StreakState",
    "World",
]
