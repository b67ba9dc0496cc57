"""People's accounts: made and switched off here, never deleted, since the audit and approvals name them for ever."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.http import HttpRequest

admin.site.unregister(User)


@admin.register(User)
class AccountAdmin(UserAdmin[User]):
    """One row an account. Whoever leaves is made inactive: that ends their rights with the next click."""

    list_display = ("username", "email", "is_active", "is_staff", "last_login")
    actions = None

    def has_delete_permission(self, _request: HttpRequest, _obj: User | None = None) -> bool:
        """Refuse: roles would go without a record, and the name could come back as another person."""
        return False
