"""Machine tokens: the secret is shown once and stored as a hash."""

from __future__ import annotations

from datetime import datetime

from django.db import models

from worlds.models.world import World


class ApiToken(models.Model):
    """A machine's credential, limited to worlds, strategies and time.

    ``secret_hash`` is the SHA-256 of a 256-bit random secret. No worlds means every world; no strategies means all
    of them.
    """

    id = models.CharField(primary_key=True, max_length=32)
    role = models.CharField(max_length=16)
    name = models.CharField(max_length=200)
    secret_hash = models.CharField(max_length=64)
    worlds = models.ManyToManyField(World, blank=True, related_name="tokens")
    strategies = models.JSONField(default=list, blank=True, help_text="strategy ids; empty for all")
    provenance = models.CharField(
        max_length=8,
        blank=True,
        help_text="where the returns that it pushes come from; empty: as the mode of the world",
    )
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        """Return the name and the public key id, never the secret."""
        return f"{self.name} ({self.id})"

    def is_live(self, now: datetime) -> bool:
        """Tell whether the token may be used."""
        return self.revoked_at is None and now < self.expires_at
