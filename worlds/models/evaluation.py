"""What evaluations carry from one to the next, and the signs of life of the processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

from worlds.models.world import World

if TYPE_CHECKING:
    from strategies.models import StrategyInstance


class StreakState(models.Model):
    """The streaks of a world's instances, packed as columns; ``revision`` decides races between evaluations."""

    world = models.OneToOneField(World, primary_key=True, on_delete=models.PROTECT, related_name="streaks")
    revision = models.PositiveBigIntegerField(default=0)
    selection_checksum = models.CharField(max_length=71, blank=True)
    columns = models.BinaryField(default=bytes)
    updated_by_run = models.CharField(max_length=128, blank=True)
    updated_at = models.DateTimeField()

    def __str__(self) -> str:
        """Return world and revision."""
        return f"{self.world_id} r{self.revision}"


class Demotion(models.Model):
    """When an instance last left the active set, by the world's clock; its cool-down counts from here."""

    instance: models.OneToOneField[StrategyInstance, StrategyInstance] = models.OneToOneField(
        "strategies.StrategyInstance", primary_key=True, on_delete=models.PROTECT, related_name="demotion"
    )
    demoted_at = models.DateTimeField()

    def __str__(self) -> str:
        """Return instance and time."""
        return f"{self.instance_id} {self.demoted_at:%Y-%m-%d %H:%M:%S}"


class Heartbeat(models.Model):
    """When a process was last alive; shown by /health."""

    process = models.CharField(primary_key=True, max_length=64)
    beat_at = models.DateTimeField()

    def __str__(self) -> str:
        """Return the process's name."""
        return self.process
