"""Django application ``worlds``."""

from __future__ import annotations

from django.apps import AppConfig


class WorldsConfig(AppConfig):
    """Registers the application."""

    name = "worlds"
