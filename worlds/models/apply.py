"""Apply runs and the approvals that let them change what may trade."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q

from qmtl_worlds.contracts.plans import TransitionPlan, parse_plan
from qmtl_worlds.contracts.states import EXCLUSIVE_STATES, TERMINAL_STATES, RunState
from worlds.models.policy import PolicyVersion
from worlds.models.world import World

if TYPE_CHECKING:
    from audit.models import AuditRun


class ApplyRun(models.Model):
    """One transition of a world's active set, advanced by the tick until it ends.

    ``epoch`` is the fencing number: a step with an old one changes nothing. ``request_digest`` decides whether a
    repeated run id is a replay. ``plan`` holds the entries before and after; ``plan_hash`` is what approvals bind.
    """

    class Kind(models.TextChoices):
        """Reduce runs switch at once; increase runs are approved, frozen and drained first."""

        REDUCE = "reduce"
        INCREASE = "increase"

    world = models.ForeignKey(World, on_delete=models.PROTECT, related_name="apply_runs")
    run_id = models.CharField(max_length=128)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    state = models.CharField(max_length=16, choices=[(state.value, state.value) for state in RunState])
    state_reason = models.CharField(max_length=200, blank=True)
    request_digest = models.CharField(max_length=71)
    plan = models.JSONField()
    plan_hash = models.CharField(max_length=71)
    base_generation = models.PositiveBigIntegerField()
    target_generation = models.PositiveBigIntegerField(null=True, blank=True)
    policy = models.ForeignKey(PolicyVersion, on_delete=models.PROTECT, related_name="apply_runs")
    evaluation: models.ForeignKey[AuditRun | None, AuditRun | None] = models.ForeignKey(
        "audit.AuditRun", null=True, blank=True, on_delete=models.PROTECT, related_name="apply_runs"
    )
    reduce_run = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="increase_runs"
    )
    rollback_to = models.PositiveBigIntegerField(null=True, blank=True)
    auto = models.BooleanField(default=False, help_text="inside what was approved with the version")
    approvals_needed = models.PositiveSmallIntegerField(default=1)
    approval_round = models.PositiveSmallIntegerField(default=1)
    requested_by = models.CharField(max_length=200)
    requester_person = models.CharField(max_length=254, blank=True)
    reason = models.TextField(blank=True)
    request_id = models.CharField(max_length=128, blank=True)
    requested_at = models.DateTimeField()
    approval_expires_at = models.DateTimeField(null=True, blank=True)
    epoch = models.PositiveIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    drain_until = models.DateTimeField(null=True, blank=True)
    deadline_at = models.DateTimeField(null=True, blank=True)
    state_changed_at = models.DateTimeField()
    result = models.JSONField(null=True, blank=True)

    class Meta:
        ordering = ("-requested_at", "-id")
        constraints = (
            models.UniqueConstraint(fields=["world", "run_id"], name="apply_run_id_unique"),
            models.UniqueConstraint(
                fields=["world"],
                condition=Q(kind="increase", state__in=sorted(state.value for state in EXCLUSIVE_STATES)),
                name="apply_run_one_live_increase",
            ),
            models.CheckConstraint(
                condition=Q(state__in=sorted(state.value for state in RunState)), name="apply_run_state_known"
            ),
        )
        indexes = (
            models.Index(
                fields=["world"],
                condition=~Q(state__in=sorted(state.value for state in TERMINAL_STATES)),
                name="apply_run_open",
            ),
        )

    def __str__(self) -> str:
        """Return run id and state."""
        return f"{self.run_id} {self.state}"

    @cached_property
    def transition_plan(self) -> TransitionPlan:
        """Return the plan that the run carries out; it never changes."""
        return parse_plan(self.plan)


class Approval(models.Model):
    """One person's decision on one plan, bound to plan, base, policy and round."""

    run = models.ForeignKey(ApplyRun, on_delete=models.PROTECT, related_name="approvals")
    approver = models.CharField(max_length=200)
    person = models.CharField(max_length=254)
    requester_person = models.CharField(max_length=254, blank=True)
    author_person = models.CharField(max_length=254, blank=True)
    plan_hash = models.CharField(max_length=71)
    base_generation = models.PositiveBigIntegerField()
    policy_checksum = models.CharField(max_length=71)
    round = models.PositiveSmallIntegerField()
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("run", "created_at")
        constraints = (
            models.UniqueConstraint(fields=["run", "round", "person"], name="approval_once_per_person"),
            models.CheckConstraint(condition=~Q(person=""), name="approval_by_a_person"),
            models.CheckConstraint(condition=~Q(person=models.F("requester_person")), name="approval_not_by_requester"),
            models.CheckConstraint(condition=~Q(person=models.F("author_person")), name="approval_not_by_author"),
        )

    def __str__(self) -> str:
        """Return run and approver."""
        return f"{self.run_id} by {self.approver}"
