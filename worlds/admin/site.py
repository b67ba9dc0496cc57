"""The site itself: who may come in, how the menu is grouped, what the first page says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import reverse

from worlds.admin.access import grants_of
from worlds.admin.home import home_of
from worlds.admin.menu import MENU
from worlds.services.authority import grants_of_person


class SignInForm(AdminAuthenticationForm):
    """Lets in whoever holds a role in some world, and who manages Django's own accounts."""

    def confirm_login_allowed(self, user: Any) -> None:
        """Refuse inactive people, and people without any role.

        Raises:
            ValidationError: with what to do about it.
        """
        if not user.is_active:
            raise self.get_invalid_login_error()
        if not may_enter(user):
            raise ValidationError(
                "You have no role in any world yet. Ask an administrator to grant you one.", code="no_role"
            )


def may_enter(user: User) -> bool:
    """Tell whether there is anything for this person here."""
    return user.is_active and (user.is_staff or bool(grants_of_person(user).by_world))


class WorldsAdminSite(AdminSite):
    """Django's admin under our name, for people with roles."""

    site_header = "QMTL Worlds"
    site_title = "QMTL Worlds"
    index_title = "Worlds"
    site_url = None
    login_form = SignInForm
    enable_nav_sidebar = True

    def has_permission(self, request: HttpRequest) -> bool:
        """Let in active people who hold a role, or who manage accounts."""
        user = request.user
        return user.is_active and (user.is_staff or bool(grants_of(request).by_world))

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Show what needs attention: worlds, their gates, and what waits for the person who looks."""
        return super().index(request, {"home": home_of(request), **(extra_context or {})})

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Group the models by what people do, not by the application that stores them."""
        apps = super().get_app_list(request, app_label)
        if app_label is not None:
            return apps
        found = {model["object_name"]: model for app in apps for model in app["models"]}
        groups = [_group(name, labels, found) for name, labels in MENU.items()]
        return [group for group in groups if group["models"]]


def _group(name: str, labels: Mapping[str, str], found: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    models = [{**found[model], "name": label} for model, label in labels.items() if model in found]
    return {
        "name": name,
        "app_label": name.lower(),
        "app_url": reverse("admin:index"),
        "has_module_perms": True,
        "models": models,
    }
