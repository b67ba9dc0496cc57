"""The web admin as a Django application: our site, and the pages of all our models."""

from __future__ import annotations

from importlib import import_module

from django.contrib.admin.apps import AdminConfig


class WorldsAdminConfig(AdminConfig):
    """Django's admin with our site; registers every page once all models are there."""

    default_site = "worlds.admin.site.WorldsAdminSite"

    def ready(self) -> None:
        """Register the pages; a module cannot be imported before the models are."""
        super().ready()
        import_module("worlds.admin.registrations")
