"""Policy versions, which never change, and the governed requests to put one in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.db.models import Q

from worlds.models.world import World

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class PolicyVersion(models.Model):
    """One immutable version: the author's text, its canonical form, and the checksums of both meanings."""

    world = models.ForeignKey(World, on_delete=models.PROTECT, related_name="policies")
    version = models.PositiveIntegerField()
    text = models.TextField()
    canonical = models.TextField(help_text="the canonical form; `checksum` is its digest")
    checksum = models.CharField(max_length=71)
    selection_checksum = models.CharField(max_length=71)
    lint = models.JSONField(default=list)
    author = models.CharField(max_length=200)
    author_person = models.CharField(max_length=254, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("world_id", "-version")
        constraints = (
            models.UniqueConstraint(fields=["world", "version"], name="policy_version_unique"),
            models.CheckConstraint(condition=Q(version__gte=1), name="policy_version_positive"),
        )

    def __str__(self) -> str:
        """Return world and version."""
        return f"{self.world_id} v{self.version}"


class PolicyChange(models.Model):
    """A request to put a version in force; a second person decides it."""

    class State(models.TextChoices):
        """Where the request stands."""

        REQUESTED = "requested"
        IN_FORCE = "in_force"
        REJECTED = "rejected"
        SUPERSEDED = "superseded"

    policy = models.ForeignKey(PolicyVersion, on_delete=models.PROTECT, related_name="changes")
    world = models.ForeignKey(World, on_delete=models.PROTECT, related_name="policy_changes")
    state = models.CharField(max_length=10, choices=State.choices, default=State.REQUESTED)
    requested_by = models.CharField(max_length=200)
    requester_person = models.CharField(max_length=254, blank=True)
    reason = models.TextField(blank=True)
    requested_at = models.DateTimeField()
    decided_by = models.CharField(max_length=200, blank=True)
    decider_person = models.CharField(max_length=254, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-requested_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=["world"], condition=Q(state="requested"), name="policy_change_one_open_per_world"
            ),
            models.CheckConstraint(
                condition=~Q(state="in_force")
                | Q(decider_person="")
                | (~Q(decider_person=models.F("requester_person"))),
                name="policy_change_second_person",
            ),
        )

    def __str__(self) -> str:
        """Return what is asked for."""
        return f"{self.policy} {self.state}"


class Membership(models.Model):
    """A person's role in a world, or in every world where ``world`` is empty."""

    user: models.ForeignKey[User, User] = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships"
    )
    world = models.ForeignKey(World, null=True, blank=True, on_delete=models.PROTECT, related_name="memberships")
    role = models.CharField(max_length=16)

    class Meta:
        ordering = ("user", "world", "role")
        constraints = (
            models.UniqueConstraint(fields=["user", "world", "role"], name="membership_unique"),
            models.UniqueConstraint(
                fields=["user", "role"], condition=Q(world__isnull=True), name="membership_everywhere_unique"
            ),
        )

    def __str__(self) -> str:
        """Return who is what, where."""
        return f"{self.user_id} {self.role} {self.world_id or 'everywhere'}"
