"""Addresses of the server."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("worlds.api.urls")),
    path("admin/", admin.site.urls),
]
handler400 = "worlds.api.errors.bad_request"
handler404 = "worlds.api.errors.page_not_found"
handler500 = "worlds.api.errors.server_error"
