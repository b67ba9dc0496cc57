"""The world: a portfolio boundary, its counters, and what is in force in it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from django.core.validators import RegexValidator
from django.db import connections, models
from django.db.models import Q

from qmtl_worlds.contracts.ids import WORLD_ID_PATTERN

if TYPE_CHECKING:
    from worlds.models.policy import PolicyVersion

LEASE_MS: Final = 5_000
LEASE_MS_RANGE: Final = (1_000, 60_000)
_BUMP: Final = "UPDATE worlds_world SET sequence = sequence + %s WHERE id = %s RETURNING sequence"


class WorldQuerySet(models.QuerySet["World"]):
    """Races over a world's row are decided here, each by one statement."""

    def claim_slot(self, world_id: str, *, last: datetime | None, slot: datetime) -> bool:
        """Move the schedule from slot ``last`` to ``slot``; False where another process was first."""
        return self.filter(id=world_id, last_slot_at=last).update(last_slot_at=slot) == 1

    def bump(self, world_id: str, *, by: int) -> int:
        """Raise the sequence (the number of any visible change) and return it; the caller holds the row's lock."""
        with connections[self.db].cursor() as cursor:
            cursor.execute(_BUMP, [by, world_id])
            (sequence,) = cursor.fetchone()
        return int(sequence)


class World(models.Model):
    """A portfolio boundary with a versioned policy.

    ``generation`` numbers committed active sets, ``sequence`` any visible change; both only rise. ``incarnation`` rises
    when the database is restored from a backup, so that readers who remember can tell. ``replay_now`` is the stepped
    clock of a replay world.
    """

    class State(models.TextChoices):
        """The life of the world itself."""

        ACTIVE = "ACTIVE"
        SUSPENDED = "SUSPENDED"
        DELETED = "DELETED"

    class Mode(models.TextChoices):
        """Where the orders of its strategies go."""

        PAPER = "paper"
        LIVE = "live"
        SHADOW = "shadow"
        REPLAY = "replay"

    class Level(models.TextChoices):
        """How far a gate is shut: orders that reduce risk pass, or none does."""

        REDUCE_ONLY = "reduce_only"
        CLOSED = "closed"

    id = models.CharField(
        primary_key=True,
        max_length=63,
        validators=[RegexValidator(rf"\A{WORLD_ID_PATTERN}\Z")],
        verbose_name="world id",
    )
    name = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    owner = models.CharField(max_length=200, blank=True)
    labels = models.JSONField(default=list, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    mode = models.CharField(max_length=8, choices=Mode.choices, default=Mode.PAPER)
    compat = models.CharField(max_length=16, blank=True)
    state = models.CharField(max_length=9, choices=State.choices, default=State.ACTIVE)
    allow_live_wish = models.BooleanField(default=False)
    paused = models.BooleanField(default=False, help_text="no increase starts by itself")
    lease_ms = models.PositiveIntegerField(default=LEASE_MS)
    on_lease_expiry = models.CharField(
        max_length=11,
        choices=Level.choices,
        default=Level.REDUCE_ONLY,
        help_text="what a Runner that hears nothing may do",
    )
    circuit_level = models.CharField(
        max_length=11, choices=Level.choices, default=Level.REDUCE_ONLY, help_text="what a tripped circuit lets through"
    )
    incarnation = models.PositiveBigIntegerField(default=1)
    generation = models.PositiveBigIntegerField(default=0)
    sequence = models.PositiveBigIntegerField(default=0)
    policy: models.ForeignKey[PolicyVersion | None, PolicyVersion | None] = models.ForeignKey(
        "worlds.PolicyVersion", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    replay_now = models.DateTimeField(null=True, blank=True)
    last_slot_at = models.DateTimeField(null=True, blank=True)
    created_by = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()

    objects = WorldQuerySet.as_manager()

    class Meta:
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(condition=Q(lease_ms__range=LEASE_MS_RANGE), name="world_lease_in_range"),
            models.CheckConstraint(condition=Q(state__in=["ACTIVE", "SUSPENDED", "DELETED"]), name="world_state_known"),
            models.CheckConstraint(
                condition=Q(mode__in=["paper", "live", "shadow", "replay"]), name="world_mode_known"
            ),
            models.CheckConstraint(condition=~Q(compat="qmtl") | Q(mode="paper"), name="world_compat_is_paper"),
            models.CheckConstraint(
                condition=Q(mode="replay") | Q(replay_now__isnull=True), name="world_replay_clock_only_in_replay"
            ),
            models.CheckConstraint(
                condition=Q(on_lease_expiry__in=["reduce_only", "closed"], circuit_level__in=["reduce_only", "closed"]),
                name="world_levels_known",
            ),
        )

    def __str__(self) -> str:
        """Return the id."""
        return self.id
