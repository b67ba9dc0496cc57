"""Django application ``strategies``."""

from __future__ import annotations

from django.apps import AppConfig


class StrategiesConfig(AppConfig):
    """Registers the application."""

    name = "strategies"
