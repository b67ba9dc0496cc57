"""What people lay over the applied set: overrides, pins, and requests to reopen what was closed."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from worlds.models.world import World


class Override(models.Model):
    """One instance capped by hand, over whatever the applied set says; an apply never undoes it.

    ``scope`` is the instance key (``strategy_id|side``); ``cap`` is a share of the world's capital, 0 makes the
    instance inactive. One whose time is over while the instance is not selected ``stays_closed`` until a person ends
    it.
    """

    world = models.ForeignKey(World, on_delete=models.PROTECT, related_name="overrides")
    scope = models.CharField(max_length=140)
    cap = models.FloatField()
    reason = models.TextField()
    set_by = models.CharField(max_length=200)
    set_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    stays_closed = models.BooleanField(default=False, help_text="its time is over, but the instance is not selected")

    class Meta:
        ordering = ("world_id", "scope")
        constraints = (
            models.UniqueConstraint(fields=["world", "scope"], name="override_one_per_instance"),
            models.CheckConstraint(condition=Q(cap__gte=0, cap__lte=1), name="override_cap_is_share"),
            models.CheckConstraint(condition=~Q(scope=""), name="override_names_an_instance"),
        )

    def __str__(self) -> str:
        """Return instance and cap."""
        return f"{self.scope} capped at {self.cap}"


class Pin(models.Model):
    """The set of a world is pinned: automatic increases wait until somebody unpins, a new policy, or the expiry."""

    world = models.OneToOneField(World, primary_key=True, on_delete=models.PROTECT, related_name="pin")
    generation = models.PositiveBigIntegerField(help_text="the generation that a rollback brought back")
    policy_version = models.PositiveIntegerField(null=True, blank=True)
    reason = models.TextField(blank=True)
    pinned_by = models.CharField(max_length=200)
    pinned_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        """Return world and generation."""
        return f"{self.world_id} pinned to g{self.generation}"


class Reopening(models.Model):
    """A request to reopen what was closed: a kill, a circuit, an override, a wait for a flat position.

    Where ``second_person`` is set, whoever grants it is not who asked; the database holds to that.
    """

    class Subject(models.TextChoices):
        """What is to be reopened."""

        KILL = "kill"
        CIRCUIT = "circuit"
        OVERRIDE = "override"
        AWAITING_FLAT = "awaiting_flat"

    class State(models.TextChoices):
        """Where the request stands."""

        REQUESTED = "requested"
        GRANTED = "granted"
        REJECTED = "rejected"
        SUPERSEDED = "superseded"

    world = models.ForeignKey(World, on_delete=models.PROTECT, related_name="reopenings")
    subject = models.CharField(max_length=16, choices=Subject.choices)
    scope = models.CharField(max_length=140, blank=True, help_text="instance key, empty for the whole world")
    parameters = models.JSONField(default=dict, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.REQUESTED)
    second_person = models.BooleanField(default=True)
    requested_by = models.CharField(max_length=200)
    requester_person = models.CharField(max_length=254, blank=True)
    reason = models.TextField()
    requested_at = models.DateTimeField()
    decided_by = models.CharField(max_length=200, blank=True)
    decider_person = models.CharField(max_length=254, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-requested_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=["world", "subject", "scope"], condition=Q(state="requested"), name="reopening_one_open"
            ),
            models.CheckConstraint(
                condition=~Q(state="granted")
                | Q(second_person=False)
                | (~Q(decider_person="") & ~Q(decider_person=F("requester_person"))),
                name="reopening_by_a_second_person",
            ),
        )

    def __str__(self) -> str:
        """Return what is to be reopened, and how that stands."""
        return f"{self.subject} {self.scope or self.world_id} {self.state}"
