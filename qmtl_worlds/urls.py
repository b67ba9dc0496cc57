"""Addresses of the server."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import path


def livez(_request: HttpRequest) -> HttpResponse:
    """Say that this process runs; asks nobody else."""
    return HttpResponse("ok\n", content_type="text/plain")


urlpatterns = [
    path("livez", livez),
    path("admin/", admin.site.urls),
]
