"""Addresses of the API; they have no prefix, since QMTL's clients expect none."""

from __future__ import annotations

from typing import Final

from django.urls import path

from worlds.api.views.acks import AcksView
from worlds.api.views.activation import StateHashView
from worlds.api.views.alerts import AcknowledgeView, AlertsView
from worlds.api.views.apply import ApplyRunView, ApplyVerbView, ApproveView, RollbackView, UnpinView
from worlds.api.views.circuit import CircuitResetView, CircuitView
from worlds.api.views.compat import QmtlDescriptionView, QmtlPoliciesView, QmtlWorldsView, QmtlWorldView
from worlds.api.views.compat_acts import QmtlActivationView, QmtlApplyView
from worlds.api.views.compat_data import HistoryView, SubscribeView
from worlds.api.views.compat_decisions import (
    QmtlDecideView,
    QmtlEvaluateView,
    QmtlRunHistoryView,
    QmtlRunMetricsView,
    QmtlStrategyRunsView,
    QmtlStrategyRunView,
)
from worlds.api.views.documents import SchemaView, docs_page
from worlds.api.views.equity import EquityView
from worlds.api.views.gate import GateVerbView, GateView, KillView
from worlds.api.views.health import HealthView, LiveView, ReadyView
from worlds.api.views.history import AuditView, GenerationsView, GenerationView
from worlds.api.views.policies import (
    PolicyDecisionView,
    PolicyDiffView,
    PolicyLintView,
    PolicyView,
    SetDefaultView,
)
from worlds.api.views.reopenings import ReopeningsView, ReopeningVerbView
from worlds.api.views.runs import ExplainView, RunsView, RunView
from worlds.api.views.series import ReturnsView, StrategyMetricsView
from worlds.api.views.strategies import BindingsView, BindingView, RosterView

WORLD: Final = "worlds/<str:world_id>"
STRATEGY: Final = f"{WORLD}/strategies/<str:strategy_id>"
APPLY_RUN: Final = f"{WORLD}/apply/<str:run_id>"

urlpatterns = [
    path("livez", LiveView.as_view()),
    path("readyz", ReadyView.as_view()),
    path("health", HealthView.as_view()),
    path("api/schema", SchemaView.as_view(), name="api-schema"),
    path("api/docs", docs_page, name="api-docs"),
    path("worlds", QmtlWorldsView.as_view()),
    path(WORLD, QmtlWorldView.as_view()),
    path(f"{WORLD}/describe", QmtlDescriptionView.as_view()),
    path(f"{WORLD}/policies", QmtlPoliciesView.as_view()),
    path(f"{WORLD}/policies/lint", PolicyLintView.as_view()),
    path(f"{WORLD}/policies/diff", PolicyDiffView.as_view()),
    path(f"{WORLD}/policies/changes/<str:change_id>/approve", PolicyDecisionView.as_view(), {"verb": "approve"}),
    path(f"{WORLD}/policies/changes/<str:change_id>/reject", PolicyDecisionView.as_view(), {"verb": "reject"}),
    path(f"{WORLD}/policies/<str:version>", PolicyView.as_view()),
    path(f"{WORLD}/set-default", SetDefaultView.as_view()),
    path(f"{WORLD}/bindings", BindingsView.as_view()),
    path(f"{WORLD}/bindings/<str:strategy_id>", BindingView.as_view()),
    path(f"{WORLD}/decisions", RosterView.as_view()),
    path(f"{STRATEGY}/returns", ReturnsView.as_view()),
    path(f"{STRATEGY}/metrics", StrategyMetricsView.as_view()),
    path(f"{STRATEGY}/runs", QmtlStrategyRunsView.as_view()),
    path(f"{STRATEGY}/runs/<str:run_id>", QmtlStrategyRunView.as_view()),
    path(f"{STRATEGY}/runs/<str:run_id>/metrics", QmtlRunMetricsView.as_view()),
    path(f"{STRATEGY}/runs/<str:run_id>/history", QmtlRunHistoryView.as_view()),
    path(f"{WORLD}/history", HistoryView.as_view()),
    path("events/subscribe", SubscribeView.as_view()),
    path(f"{WORLD}/evaluate", QmtlEvaluateView.as_view()),
    path(f"{WORLD}/decide", QmtlDecideView.as_view()),
    path(f"{WORLD}/explain", ExplainView.as_view()),
    path(f"{WORLD}/runs", RunsView.as_view()),
    path(f"{WORLD}/runs/<str:run_id>", RunView.as_view()),
    path(f"{WORLD}/apply", QmtlApplyView.as_view()),
    path(APPLY_RUN, ApplyRunView.as_view()),
    path(f"{APPLY_RUN}/approve", ApproveView.as_view()),
    path(f"{APPLY_RUN}/reject", ApplyVerbView.as_view(), {"verb": "reject"}),
    path(f"{APPLY_RUN}/abort", ApplyVerbView.as_view(), {"verb": "abort"}),
    path(f"{APPLY_RUN}/resume", ApplyVerbView.as_view(), {"verb": "resume"}),
    path(f"{WORLD}/rollback", RollbackView.as_view()),
    path(f"{WORLD}/unpin", UnpinView.as_view()),
    path(f"{WORLD}/acks", AcksView.as_view()),
    path(f"{WORLD}/generations", GenerationsView.as_view()),
    path(f"{WORLD}/generations/<str:generation>", GenerationView.as_view()),
    path(f"{WORLD}/audit", AuditView.as_view()),
    path(f"{WORLD}/activation", QmtlActivationView.as_view()),
    path(f"{WORLD}/activation/state_hash", StateHashView.as_view(), {"subject": "activation"}),
    path(f"{WORLD}/policy/state_hash", StateHashView.as_view(), {"subject": "policy"}),
    path(f"{WORLD}/kill", KillView.as_view()),
    path(f"{WORLD}/gate", GateView.as_view()),
    path(f"{WORLD}/equity", EquityView.as_view()),
    path(f"{WORLD}/circuit", CircuitView.as_view()),
    path(f"{WORLD}/circuit/reset", CircuitResetView.as_view()),
    path(f"{WORLD}/alerts", AlertsView.as_view()),
    path(f"{WORLD}/alerts/<str:alert_id>/acknowledge", AcknowledgeView.as_view()),
    path(f"{WORLD}/reopenings", ReopeningsView.as_view()),
    path(f"{WORLD}/reopenings/<str:reopening_id>/grant", ReopeningVerbView.as_view(), {"verb": "grant"}),
    path(f"{WORLD}/reopenings/<str:reopening_id>/reject", ReopeningVerbView.as_view(), {"verb": "reject"}),
    path(f"{WORLD}/suspend", GateVerbView.as_view(), {"verb": "suspend"}),
    path(f"{WORLD}/unsuspend", GateVerbView.as_view(), {"verb": "unsuspend"}),
    path(f"{WORLD}/freeze", GateVerbView.as_view(), {"verb": "freeze"}),
    path(f"{WORLD}/unfreeze", GateVerbView.as_view(), {"verb": "unfreeze"}),
    path(f"{WORLD}/pause", GateVerbView.as_view(), {"verb": "pause"}),
    path(f"{WORLD}/resume", GateVerbView.as_view(), {"verb": "resume"}),
]
