"""Django application ``strategies``: the register of instances and the storage of their return series."""

from __future__ import annotations

from django.apps import AppConfig


class StrategiesConfig(AppConfig):
    """Registers the application."""

    name = "strategies"
