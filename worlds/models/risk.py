"""What the risk circuit of a world has seen."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from worlds.models.world import World


class EquitySnapshot(models.Model):
    """What the portfolio of a world was worth at ``ts``, as its owner measured it; never changes.

    ``leverage`` is gross notional over equity; ``var_95`` a positive fraction of equity. Both are optional.
    """

    world = models.ForeignKey(World, on_delete=models.PROTECT, related_name="equity")
    ts = models.DateTimeField()
    equity = models.FloatField()
    leverage = models.FloatField(null=True, blank=True)
    var_95 = models.FloatField(null=True, blank=True)
    pushed_by = models.CharField(max_length=200)
    received_at = models.DateTimeField()

    class Meta:
        ordering = ("world_id", "-ts")
        constraints = (
            models.UniqueConstraint(fields=["world", "ts"], name="equity_snapshot_unique"),
            models.CheckConstraint(condition=Q(equity__gt=0), name="equity_snapshot_positive"),
            models.CheckConstraint(
                condition=Q(leverage=None) | Q(leverage__gte=0), name="equity_leverage_not_negative"
            ),
            models.CheckConstraint(condition=Q(var_95=None) | Q(var_95__gte=0), name="equity_var_not_negative"),
        )

    def __str__(self) -> str:
        """Return world, time and equity."""
        return f"{self.world_id} {self.ts:%Y-%m-%d %H:%M:%S} {self.equity}"


class CircuitState(models.Model):
    """What the circuit remembers between samples; ``high_water`` is the highest equity so far, dated.

    ``incident`` names the trip that is latched, empty where none is. After ``fresh_until`` the input is stale; after
    ``latches_at`` the circuit latches by itself.
    """

    world = models.OneToOneField(World, primary_key=True, on_delete=models.PROTECT, related_name="circuit")
    incident = models.CharField(max_length=64, blank=True)
    breaching_count = models.PositiveIntegerField(default=0)
    last_ts = models.DateTimeField(null=True, blank=True)
    warned = models.JSONField(default=list, blank=True)
    high_water = models.FloatField(null=True, blank=True)
    high_water_at = models.DateTimeField(null=True, blank=True)
    last_sample = models.JSONField(default=dict, blank=True)
    modelled = models.JSONField(default=dict, blank=True, help_text="the equity that weights and returns imply")
    fresh_until = models.DateTimeField(null=True, blank=True)
    latches_at = models.DateTimeField(null=True, blank=True)
    tripped_at = models.DateTimeField(null=True, blank=True)
    changed_at = models.DateTimeField()

    def __str__(self) -> str:
        """Return the world and whether its circuit has tripped."""
        return f"{self.world_id} {'tripped' if self.incident else 'closed circuit'}"
