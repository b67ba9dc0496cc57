"""What the world has decided to permit: immutable sets by generation, holds over them, and the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q

from worlds.models.world import World

if TYPE_CHECKING:
    from strategies.models import StrategyInstance
    from worlds.models.apply import ApplyRun


class ActivationSet(models.Model):
    """One committed set; never changes. The world's ``generation`` says which one is current."""

    world = models.ForeignKey(World, on_delete=models.PROTECT, related_name="sets")
    generation = models.PositiveBigIntegerField()
    content_hash = models.CharField(max_length=71)
    run: models.ForeignKey[ApplyRun, ApplyRun] = models.ForeignKey(
        "worlds.ApplyRun", on_delete=models.PROTECT, related_name="sets"
    )
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("world_id", "-generation")
        constraints = (models.UniqueConstraint(fields=["world", "generation"], name="activation_set_unique"),)

    def __str__(self) -> str:
        """Return world and generation."""
        return f"{self.world_id} g{self.generation}"


class ActivationEntry(models.Model):
    """One active instance of a set and its share of the world's capital; never changes."""

    set = models.ForeignKey(ActivationSet, on_delete=models.PROTECT, related_name="entries")
    instance: models.ForeignKey[StrategyInstance, StrategyInstance] = models.ForeignKey(
        "strategies.StrategyInstance", on_delete=models.PROTECT, related_name="entries"
    )
    weight = models.FloatField()
    evaluation_run_id = models.CharField(max_length=128, help_text="the evaluation that chose it")
    promoted_at = models.DateTimeField(help_text="when this stretch of activity began")

    class Meta:
        ordering = ("set", "instance")
        constraints = (
            models.UniqueConstraint(fields=["set", "instance"], name="activation_entry_unique"),
            models.CheckConstraint(condition=Q(weight__gte=0, weight__lte=1), name="activation_entry_weight_is_share"),
        )

    def __str__(self) -> str:
        """Return instance and weight."""
        return f"{self.instance_id} {self.weight}"


class GateHold(models.Model):
    """A reason to keep gates from being open; open means there is none. Each is lifted only by its own kind.

    ``scope`` is empty for the whole world, else an instance key (``strategy_id|side``). ``owner`` tells holds of one
    kind apart: the run, the person, the incident.
    """

    world = models.ForeignKey(World, on_delete=models.PROTECT, related_name="holds")
    scope = models.CharField(max_length=140, blank=True)
    kind = models.CharField(max_length=16)
    owner = models.CharField(max_length=300, blank=True)
    level = models.CharField(max_length=11)
    reason = models.TextField(blank=True)
    placed_by = models.CharField(max_length=200)
    placed_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("world_id", "scope", "kind", "owner")
        constraints = (
            models.UniqueConstraint(fields=["world", "scope", "kind", "owner"], name="gate_hold_unique"),
            models.CheckConstraint(condition=Q(level__in=["reduce_only", "closed"]), name="gate_hold_level_known"),
        )

    def __str__(self) -> str:
        """Return kind, scope and level."""
        return f"{self.kind} {self.scope or 'world'} {self.level}"


class OutboxEvent(models.Model):
    """One visible change of a world, told to the outside in order, at least once."""

    world = models.ForeignKey(World, on_delete=models.PROTECT, related_name="outbox")
    sequence = models.PositiveBigIntegerField()
    kind = models.CharField(max_length=32)
    payload = models.JSONField(default=dict)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("world_id", "sequence")
        constraints = (models.UniqueConstraint(fields=["world", "sequence"], name="outbox_event_unique"),)

    def __str__(self) -> str:
        """Return world, sequence and kind."""
        return f"{self.world_id} #{self.sequence} {self.kind}"
