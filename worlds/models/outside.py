"""What the world is told: alerts, how far the outbox was relayed, and which Runners have heard."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from worlds.models.world import World


class Alert(models.Model):
    """One condition that somebody should know of; open until it is over, raised once (edge-triggered)."""

    class Severity(models.TextChoices):
        """How soon somebody should look."""

        INFO = "info"
        WARNING = "warning"
        CRITICAL = "critical"

    world = models.ForeignKey(World, on_delete=models.PROTECT, related_name="alerts")
    kind = models.CharField(max_length=32)
    subject = models.CharField(max_length=300, blank=True, help_text="run, instance or measure; empty for the world")
    severity = models.CharField(max_length=8, choices=Severity.choices)
    detail = models.TextField(blank=True)
    facts = models.JSONField(default=dict, blank=True)
    sequence = models.PositiveBigIntegerField(help_text="the outbox row that told it")
    raised_at = models.DateTimeField()
    cleared_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.CharField(max_length=200, blank=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-raised_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=["world", "kind", "subject"], condition=Q(cleared_at=None), name="alert_one_open"
            ),
        )

    def __str__(self) -> str:
        """Return kind and subject."""
        return f"{self.kind} {self.subject}".strip()


class Relay(models.Model):
    """How far the outbox of a world was given to the bus, and below which sequence its rows were compacted away."""

    world = models.OneToOneField(World, primary_key=True, on_delete=models.PROTECT, related_name="relay")
    relayed = models.PositiveBigIntegerField(default=0)
    compacted = models.PositiveBigIntegerField(default=0)
    changed_at = models.DateTimeField()

    def __str__(self) -> str:
        """Return world and sequence."""
        return f"{self.world_id} relayed to #{self.relayed}"


class RunnerSession(models.Model):
    """One Runner process as the control plane last heard of it; for display, never for a decision."""

    world = models.ForeignKey(World, on_delete=models.PROTECT, related_name="sessions")
    client_id = models.CharField(max_length=128)
    token = models.CharField(max_length=32, blank=True)
    connection = models.CharField(max_length=16, blank=True, help_text="how it hears: poll, stream, websocket")
    incarnation = models.PositiveBigIntegerField(default=0)
    sequence = models.PositiveBigIntegerField(default=0)
    hold_sequence = models.PositiveBigIntegerField(default=0)
    skew_ms = models.FloatField(null=True, blank=True, help_text="from the change's commit to the acknowledgement")
    connected_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    acknowledged_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("world_id", "client_id")
        constraints = (models.UniqueConstraint(fields=["world", "client_id"], name="runner_session_unique"),)

    def __str__(self) -> str:
        """Return client and sequence."""
        return f"{self.client_id} #{self.sequence}"
